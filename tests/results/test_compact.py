"""The compact form against records that trainings really wrote."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from dmu_search.cli.main import main
from dmu_search.data.loading import load_data
from dmu_search.errors import StorageError
from dmu_search.records import Recorder, RunStart, read_events
from dmu_search.results.compact import add_to_compact, events_of, read_compact, read_results
from dmu_search.results.trainings import read_runs
from dmu_search.retraining.run import plan_run, retrain
from tests.results.runs import DIVERGED, paper_run, recorded

SMALL = {"training.max_epochs": 3, "data.batches_per_epoch": 1, "data.length": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two trainings, one of a single replica, and one that was cut off."""
    folder = tmp_path_factory.mktemp("recorded")
    for model, replicas in (("dmu", 2), ("gru", 1)):
        run = paper_run("adding", model, 2, **SMALL, **{"training.replicas": replicas})
        data = load_data(run.task, run.data)
        retrain(
            plan_run(f"{model}-run", run, data=data, tags={}),
            run,
            data=data,
            folder=folder / model,
            recorder=Recorder(folder / "records"),
            on_epoch=lambda _: None,
        )
    record = (folder / "records/gru-run.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "records/open-run.jsonl").write_text("\n".join(record[:3]) + "\n", encoding="utf-8")
    return folder / "records"


def test_the_compact_form_gives_back_what_was_recorded(folder, tmp_path):
    recorded_runs = read_runs(folder)
    assert add_to_compact(recorded_runs, tmp_path) == 2
    assert read_compact(tmp_path) == tuple(run for run in recorded_runs if run.ended)
    assert len(recorded_runs) == 3
    for run in read_compact(tmp_path):
        assert len(run.replicas[0].curve) == 3
        assert run.computed_by["engine"].startswith(("native ", "reference"))
        assert run.computed_by.keys() == {"commit", "engine", "processor", "torch", "threads"}
        assert run.resumes == 0


def test_files_of_before_these_columns_are_read_as_unknown(folder, tmp_path):
    add_to_compact(read_runs(folder), tmp_path)
    runs = pd.read_csv(tmp_path / "runs.csv", dtype=str)
    of_then = runs.drop(columns=["commit", "engine", "processor", "torch", "threads", "resumes"])
    of_then.to_csv(tmp_path / "runs.csv", index=False)
    for run in read_compact(tmp_path):
        assert (dict(run.computed_by), run.resumes) == ({}, None)
    add_to_compact([], tmp_path)
    again = pd.read_csv(tmp_path / "runs.csv", dtype=str)
    assert list(again) == list(runs)
    assert again["resumes"].isna().all()


def test_a_resume_and_another_engine_are_seen(folder, tmp_path):
    record = folder / "gru-run.jsonl"
    start, tags, *rest = record.read_text(encoding="utf-8").splitlines()
    elsewhere = json.dumps({**json.loads(tags), "tags": {"engine": "reference", "threads": "1"}})
    lines = [start, tags, *rest[:1], start, elsewhere, *rest[1:]]
    (tmp_path / "gru-run.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (run,) = read_runs(tmp_path)
    assert run.resumes == 1
    assert run.computed_by["engine"].endswith(", then reference")


def test_a_run_as_events_says_what_its_record_says(folder):
    for run in read_runs(folder):
        if not run.ended:
            continue
        recorded_ones = list(read_events(folder / f"{run.run_id}.jsonl"))
        shown = values_of(recorded_ones)
        made = values_of(events_of(run))
        # The three files hold no durations and no losses of the training set by epoch.
        assert made.keys() <= shown.keys()
        assert {step for step, name in made if name.startswith("val_")} == {1, 2, 3}
        for key, value in made.items():
            assert value == pytest.approx(shown[key], rel=1e-6), key
        assert events_of(run)[0]["params"] == recorded_ones[0]["params"]


def values_of(events):
    return {
        (event["step"], name): value
        for event in events
        if event["event"] == "metrics"
        for name, value in event["values"].items()
    }


@pytest.mark.slow
def test_compact_results_are_brought_into_mlflow_once(folder, tmp_path):
    add_to_compact(read_runs(folder), tmp_path / "compact")
    words = ["sync", str(tmp_path / "compact"), f"output_dir={tmp_path / 'runs'}"]
    counts = []
    for _ in range(2):
        assert main(words) == 0
        client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
        runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
        counts.append(
            {
                (run.data.tags["dmu_search.run_id"], name): len(
                    client.get_metric_history(run.info.run_id, name)
                )
                for run in runs
                for name in run.data.metrics
            }
        )
        assert {run.info.status for run in runs} == {"FINISHED"}
    assert counts[0] == counts[1]
    assert counts[0]["dmu-run", "val_mse/replica_1"] == 3
    assert counts[0]["gru-run", "test_mse"] == 1


def test_diverged_runs_come_back(tmp_path):
    run = recorded(paper_run(), (3.5, 3.6), curves=[(5.0, 4.0), DIVERGED])
    add_to_compact([run], tmp_path)
    (found,) = read_compact(tmp_path)
    assert math.isnan(found.replicas[1].curve[1])
    assert found.replicas[0] == run.replicas[0]
    assert found.run == run.run


def test_more_trainings_only_add_lines(folder, tmp_path):
    runs = read_runs(folder)
    add_to_compact(runs[:1], tmp_path)
    before = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    add_to_compact(runs, tmp_path)
    for name, text in before.items():
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(text)
    again = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    add_to_compact(reversed(runs), tmp_path)
    assert again == {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}


def test_a_folder_may_hold_both_forms(folder, tmp_path):
    runs = read_runs(folder)
    add_to_compact(runs, tmp_path)
    shutil.copy(folder / "dmu-run.jsonl", tmp_path)
    assert read_results(tmp_path) == tuple(run for run in runs if run.ended)
    assert read_results(tmp_path / "nothing") == ()


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("replicas.csv", "dmu-run,0,", "dmu-run,zero,", "the line of run dmu-run does not fit"),
        ("runs.csv", "FINISHED,3", "FINISHED,three", "the line of run dmu-run does not fit"),
        ("curves.csv", "dmu-run", "other", "restore all three"),
        ("curves.csv", "run_id", "runid", r"curves\.csv: cannot be read \(no column run_id\)"),
        ("replicas.csv", "dmu-run,1,", "other,1,", "the line of run dmu-run does not fit"),
        ("runs.csv", "{", "[{", "the line of run dmu-run does not fit"),
    ],
)
def test_damage_is_named(folder, tmp_path, name, old, new, message):
    add_to_compact(read_runs(folder), tmp_path)
    path = tmp_path / name
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(StorageError, match=message):
        read_compact(tmp_path)


def test_what_is_intact_is_read(folder, tmp_path):
    add_to_compact(read_runs(folder), tmp_path)
    path = tmp_path / "replicas.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("dmu-run,0,", "dmu-run,zero,", 1))
    damaged = []
    assert [run.run_id for run in read_compact(tmp_path, on_damage=damaged.append)] == ["gru-run"]
    (fault,) = damaged
    assert "the line of run dmu-run" in str(fault)


def test_a_damaged_record_keeps_no_other_from_being_read(folder, tmp_path):
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "dmu-run.jsonl").write_bytes(b"\xff\xfe\n")
    lines = (tmp_path / "gru-run.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "with-a-gap.jsonl").write_text("".join(lines[:2] + lines[3:]), encoding="utf-8")
    (tmp_path / "no-data.jsonl").write_text(
        lines[0].replace('"data.sha256"', '"data.sha"'), encoding="utf-8"
    )
    damaged = []
    runs = read_runs(tmp_path, on_damage=damaged.append)
    assert [run.run_id for run in runs] == ["gru-run", "open-run"]
    first, second, third = map(str, damaged)
    assert "dmu-run.jsonl: line 1 is damaged; restore the file" in first
    assert "no-data.jsonl: is not whole (KeyError: 'data.sha256')" in second
    assert "with-a-gap.jsonl: is not whole (ValueError: epochs are missing)" in third
    with pytest.raises(StorageError, match="line 1 is damaged"):
        read_runs(tmp_path)


def test_a_training_that_began_again_counts_with_its_new_epochs(folder, tmp_path):
    shutil.copy(folder / "gru-run.jsonl", tmp_path)
    (old,) = read_runs(tmp_path)
    recorder = Recorder(tmp_path)
    lines = (tmp_path / "gru-run.jsonl").read_text(encoding="utf-8").splitlines()
    start, second = json.loads(lines[0]), json.loads(lines[2])
    recorder.start(
        RunStart("gru-run", "gru-run", "retraining", params=start["params"], tags=start["tags"])
    )
    recorder.log("gru-run", second["values"] | {"val_mse": 0.25}, step=2)
    (new,) = read_runs(tmp_path)
    assert new.replicas[0].curve == (old.replicas[0].curve[0], 0.25)
    assert new.replicas[0].metrics == {}
    assert (new.epochs, new.ended) == (2, False)
    recorder.end("gru-run", "FINISHED")
    add_to_compact(read_runs(tmp_path), tmp_path / "compact")
    (compact,) = read_compact(tmp_path / "compact")
    assert compact.replicas[0].curve == new.replicas[0].curve


def test_a_long_curve_comes_back(tmp_path):
    curve = tuple(float(np.float32(1 / epoch)) for epoch in range(1, 30_000))
    add_to_compact([recorded(paper_run(), (3.5,), curves=[curve])], tmp_path)
    assert read_compact(tmp_path)[0].replicas[0].curve == curve


def test_a_missing_file_is_named(folder, tmp_path):
    add_to_compact(read_runs(folder), tmp_path)
    (tmp_path / "curves.csv").unlink()
    with pytest.raises(StorageError, match=r"curves\.csv: cannot be read"):
        read_results(tmp_path)


def test_runs_of_a_task_that_is_gone_are_left_out(folder, tmp_path):
    add_to_compact(read_runs(folder), tmp_path)
    shutil.copy(folder / "gru-run.jsonl", tmp_path)
    for path in (tmp_path / "runs.csv", tmp_path / "gru-run.jsonl"):
        text = path.read_text(encoding="utf-8")
        assert "adding" in text
        path.write_text(text.replace("adding", "chess"), encoding="utf-8")
    assert read_results(tmp_path) == ()
