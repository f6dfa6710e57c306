import shutil
import time
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from dmu_search.cli.main import main
from dmu_search.config.settings import TrackingSettings
from dmu_search.errors import StorageError, TrackingError
from dmu_search.exit_codes import DONE, SOME_FAILED
from dmu_search.records import Recorder, RunStart
from dmu_search.tracking import check_tracking, open_tracking, sync_records
from dmu_search.tracking.sending import Sending
from dmu_search.tracking.store import Store

STUDY = RunStart("s1", "s1", "study", params={"space": "x"}, tags={"study": "s1"})
TRIAL = RunStart("s1.t1", "trial 000", "trial", parent_id="s1", params={"rate": 0.1})


def write_study(recorder, attachment=None):
    recorder.start(STUDY)
    recorder.start(TRIAL)
    for epoch in (1, 2, 3):
        recorder.log("s1.t1", {"val_nll_nats": 5.0 - epoch, "nan": float("nan")}, step=epoch)
    recorder.summarise("s1.t1", {"test_nll_nats": 2.5})
    recorder.tag("s1.t1", {"outcome": "finished"})
    if attachment is not None:
        recorder.attach("s1", attachment)
    recorder.end("s1.t1", "FINISHED")
    recorder.end("s1", "FINISHED")


def runs_of(uri):
    client = MlflowClient(uri)
    found = [e for e in client.search_experiments() if e.name.startswith("dmu_search")]
    runs = client.search_runs([experiment.experiment_id for experiment in found]) if found else []
    return client, {run.data.tags["dmu_search.run_id"]: run for run in runs}


def settings(uri):
    return TrackingSettings(uri, "dmu_search")


class Beside:
    """Records, and what brings them into MLflow, in this process and when a test says so."""

    def __init__(self, uri, folder):
        self.sending = Sending(Store(uri, "dmu_search", folder))
        self.recorder = Recorder(folder / "records", self._follow)

    def _follow(self, run_id, event):
        if event["event"] not in ("metrics", "end"):
            self.sending.follow(run_id)

    def send(self):
        self.sending.send()
        assert not self.sending.unsent()
        assert not self.sending.refused()


@pytest.fixture
def beside(store_uri, tmp_path):
    """Begins such a sender, as a new process would; the one before ends."""
    begun = []

    def begin():
        if begun:
            begun.pop().sending.close()
        begun.append(Beside(store_uri, tmp_path))
        return begun[-1]

    yield begin
    for each in begun:
        each.sending.close()


def test_a_study_is_a_parent_run_and_a_trial_its_child(beside, store_uri, tmp_path):
    attachment = tmp_path / "best.yaml"
    attachment.write_text("config: {}\n")
    own = beside()
    write_study(own.recorder, attachment)
    own.send()
    client, runs = runs_of(store_uri)
    assert set(runs) == {"s1", "s1.t1"}
    trial, study = runs["s1.t1"], runs["s1"]
    assert trial.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert trial.data.params == {"rate": "0.1"}
    assert trial.data.tags["outcome"] == "finished"
    assert (trial.info.status, study.info.status) == ("FINISHED", "FINISHED")
    history = client.get_metric_history(trial.info.run_id, "val_nll_nats")
    assert [(point.step, point.value) for point in history] == [(1, 4.0), (2, 3.0), (3, 2.0)]
    assert trial.data.metrics["test_nll_nats"] == 2.5
    assert [file.path for file in client.list_artifacts(study.info.run_id)] == ["best.yaml"]


def test_going_on_with_a_run_makes_no_second_one(beside, store_uri):
    for epochs in (2, 3):
        own = beside()
        own.recorder.start(STUDY)
        own.recorder.start(TRIAL)
        own.send()
        client, runs = runs_of(store_uri)
        assert runs["s1.t1"].info.status == "RUNNING"
        for epoch in range(1, epochs + 1):
            own.recorder.log("s1.t1", {"val_nll_nats": float(epoch)}, step=epoch)
        own.recorder.end("s1.t1", "KILLED")
        own.recorder.end("s1", "KILLED")
        own.send()
    client, runs = runs_of(store_uri)
    assert len(runs) == 2
    history = client.get_metric_history(runs["s1.t1"].info.run_id, "val_nll_nats")
    assert [point.step for point in history] == [1, 2, 3]
    assert runs["s1"].info.status == "KILLED"


def test_what_is_best_is_not_said_twice_of_the_last_epoch(beside, store_uri):
    own = beside()
    own.recorder.start(TRIAL)
    for epoch, value in ((1, 4.0), (2, 5.0)):
        metrics = {"val_nll_nats": value, "best_val_nll_nats": 4.0, "train_nll_nats": value}
        own.recorder.log("s1.t1", metrics, step=epoch)
    own.send()
    summary = {"best_val_nll_nats": 4.0, "train_nll_nats": 3.5, "test_nll_nats": 4.5}
    own.recorder.summarise("s1.t1", summary)
    own.recorder.end("s1.t1", "FINISHED")
    own.send()
    points = [point[1:] for point in points_of(store_uri)]
    assert [p for p in points if p[0] == "best_val_nll_nats"] == [
        ("best_val_nll_nats", 1, "4.0"),
        ("best_val_nll_nats", 2, "4.0"),
    ]
    # Of the best epoch, not of the last.
    assert ("train_nll_nats", 2, "3.5") in points
    assert ("test_nll_nats", 2, "4.5") in points
    own.sending.close()
    sync_records(own.recorder.folder, settings(store_uri), output_dir=own.recorder.folder.parent)
    assert [point[1:] for point in points_of(store_uri)] == points


def test_sync_brings_records_in_and_twice_changes_nothing(store_uri, tmp_path):
    tracking = open_tracking(settings("none"), tmp_path)
    assert tracking.uri is None
    write_study(tracking.recorder)
    for _ in range(2):
        assert sync_records(tmp_path / "records", settings(store_uri), output_dir=tmp_path) == {}
        client, runs = runs_of(store_uri)
        assert set(runs) == {"s1", "s1.t1"}
        assert runs["s1.t1"].data.tags["mlflow.parentRunId"] == runs["s1"].info.run_id
        assert runs["s1.t1"].info.status == "FINISHED"
        history = client.get_metric_history(runs["s1.t1"].info.run_id, "val_nll_nats")
        assert [(point.step, point.value) for point in history] == [(1, 4.0), (2, 3.0), (3, 2.0)]


def history_of(uri, run_id="s1.t1"):
    client, runs = runs_of(uri)
    history = client.get_metric_history(runs[run_id].info.run_id, "val_nll_nats")
    return [(point.step, point.value) for point in history]


def begin_again(recorder):
    """The same trial once more, with other results from its second epoch on, and one less."""
    recorder.start(TRIAL)
    for epoch, value in ((1, 4.0), (2, 3.5)):
        recorder.log("s1.t1", {"val_nll_nats": value, "nan": float("nan")}, step=epoch)


def test_what_a_training_that_began_again_made_void_leaves_mlflow(beside, store_uri):
    own = beside()
    write_study(own.recorder)
    own.send()
    begin_again(own.recorder)
    own.send()
    assert history_of(store_uri) == [(1, 4.0), (2, 3.5)]
    _, runs = runs_of(store_uri)
    assert set(runs) == {"s1", "s1.t1"}
    assert runs["s1.t1"].info.status == "RUNNING"
    assert runs["s1.t1"].data.tags["mlflow.parentRunId"] == runs["s1"].info.run_id
    own.recorder.end("s1.t1", "FINISHED")
    own.send()
    _, runs = runs_of(store_uri)
    assert runs["s1.t1"].info.status == "FINISHED"


def test_a_run_that_goes_on_and_begins_again_between_two_looks(beside, store_uri):
    own = beside()
    own.recorder.start(TRIAL)
    for epoch in (1, 2):
        own.recorder.log("s1.t1", {"val_nll_nats": 5.0 - epoch}, step=epoch)
        own.send()
    own.recorder.void_after("s1.t1", 1)
    own.recorder.log("s1.t1", {"val_nll_nats": 3.5}, step=2)
    own.send()
    assert history_of(store_uri) == [(1, 4.0), (2, 3.5)]


def test_sync_takes_back_what_became_void_since_the_last_one(store_uri, tmp_path):
    recorder = open_tracking(settings("none"), tmp_path).recorder
    write_study(recorder)
    sync_records(tmp_path / "records", settings(store_uri), output_dir=tmp_path)
    begin_again(recorder)
    ids = set()
    for _ in range(2):
        sync_records(tmp_path / "records", settings(store_uri), output_dir=tmp_path)
        assert history_of(store_uri) == [(1, 4.0), (2, 3.5)]
        ids.add(runs_of(store_uri)[1]["s1.t1"].info.run_id)
    assert len(ids) == 1


def points_of(uri):
    """Every point of every run: run, metric, step, value."""
    client, runs = runs_of(uri)
    return sorted(
        (run_id, name, point.step, str(point.value))
        for run_id, run in runs.items()
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )


@pytest.mark.parametrize("lost", [("s1.t1",), ("s1", "s1.t1")], ids=len)
def test_records_that_begin_anew_put_no_point_into_mlflow_twice(beside, store_uri, tmp_path, lost):
    own = beside()
    write_study(own.recorder)
    own.send()
    before, ids = points_of(store_uri), {run.info.run_id for run in runs_of(store_uri)[1].values()}
    assert ("s1.t1", "nan", 1, "nan") in before
    for name in lost:
        (tmp_path / "records" / f"{name}.jsonl").unlink()
    again = beside()
    write_study(again.recorder)
    again.send()
    assert points_of(store_uri) == before
    again.sending.close()
    sync_records(tmp_path / "records", settings(store_uri), output_dir=tmp_path)
    assert points_of(store_uri) == before
    assert {run.info.run_id for run in runs_of(store_uri)[1].values()} == ids


def test_a_record_that_begins_anew_with_other_results_replaces_those_in_mlflow(
    beside, store_uri, tmp_path
):
    own = beside()
    write_study(own.recorder)
    own.send()
    (tmp_path / "records" / "s1.t1.jsonl").unlink()
    again = beside()
    begin_again(again.recorder)
    again.send()
    assert history_of(store_uri) == [(1, 4.0), (2, 3.5)]


def test_a_record_that_was_mended_replaces_a_run_that_was_closed(beside, store_uri, tmp_path):
    """Each time anew: the second mending is another one than the first."""
    own = beside()
    write_study(own.recorder)
    own.send()
    for kept in (2, 1):
        path = tmp_path / "records" / "s1.t1.jsonl"
        path.unlink()
        mended = Recorder(tmp_path / "records")
        mended.start(replace(TRIAL, tags={"study": "s1"}))
        for epoch in range(1, kept + 1):
            mended.log("s1.t1", {"val_nll_nats": 5.0 - epoch}, step=epoch)
        mended.void_after("s1.t1", kept)
        mended.end("s1.t1", "KILLED")
        for _ in range(2):
            resumed = beside()
            resumed.recorder.start(STUDY)
            resumed.send()
            assert history_of(store_uri) == [(1, 4.0), (2, 3.0)][:kept]
            time.sleep(0.002)  # A mending has the millisecond that it was done in.


def test_what_was_on_disk_and_not_sent_is_sent_on_a_resume(beside, store_uri):
    own = beside()
    own.recorder.start(STUDY)
    own.recorder.start(TRIAL)
    own.recorder.log("s1.t1", {"val_nll_nats": 4.0}, step=1)
    own.send()
    own.recorder.log("s1.t1", {"val_nll_nats": 3.0}, step=2)
    resumed = beside()
    resumed.recorder.start(STUDY)
    resumed.send()
    assert history_of(store_uri) == [(1, 4.0), (2, 3.0)]


def test_a_place_that_was_lost_after_its_points_were_sent_repeats_none(beside, store_uri, tmp_path):
    """As a kill leaves it between the two."""
    own = beside()
    write_study(own.recorder)
    own.send()
    before = points_of(store_uri)
    (places,) = (tmp_path / "sent").rglob("places.jsonl")
    lines = places.read_text().splitlines(keepends=True)
    places.write_text("".join(lines[:-1]) + lines[-1][:20])
    resumed = beside()
    resumed.recorder.start(STUDY)
    resumed.recorder.end("s1", "FINISHED")
    resumed.send()
    assert points_of(store_uri) == before


def test_records_that_mlflow_has_are_not_looked_at_again(beside, store_uri, monkeypatch):
    own = beside()
    write_study(own.recorder)
    own.send()
    resumed = beside()
    told = []
    monkeypatch.setattr(resumed.sending.runs, "apply_all", lambda run, _: told.append(run))
    resumed.recorder.start(STUDY)
    resumed.sending.send()
    assert told == ["s1"]


def test_a_new_store_at_the_same_address_gets_everything(beside, store_uri, empty_store, tmp_path):
    own = beside()
    write_study(own.recorder)
    own.send()
    before = points_of(store_uri)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    resumed = beside()
    resumed.recorder.start(STUDY)
    resumed.send()
    assert points_of(store_uri) == before


def test_what_mlflow_refuses_keeps_nothing_else_from_it(beside, store_uri):
    own = beside()
    own.recorder.start(TRIAL)
    own.recorder.log("s1.t1", {"no name?": 1.0}, step=1)
    own.recorder.start(STUDY)
    own.sending.send()
    assert set(own.sending.refused()) == {"s1.t1"}
    assert set(own.sending.unsent()) == {"s1.t1"}
    assert "s1" in runs_of(store_uri)[1]


def test_one_process_at_a_time_sends_the_runs_of_a_study(beside, store_uri, tmp_path):
    own = beside()
    own.recorder.start(STUDY)
    own.send()
    other = Beside(store_uri, tmp_path)
    other.recorder.start(TRIAL)
    other.sending.send()
    assert other.sending.unsent() == ["s1.t1"]
    assert set(runs_of(store_uri)[1]) == {"s1"}
    other.sending.close()


def test_sync_checks_all_records_before_it_writes_anything(store_uri, tmp_path):
    there = tmp_path / "there"
    write_study(open_tracking(settings("none"), there).recorder)
    (there / "records" / "s1.jsonl").write_text("x\n")
    with pytest.raises(StorageError, match=r"s1\.jsonl: line 1 is damaged"):
        sync_records(there / "records", settings(store_uri), output_dir=tmp_path / "own")
    assert not (tmp_path / "own").exists()
    assert not runs_of(store_uri)[1]


def test_a_trial_comes_in_without_its_study_and_finds_it_later(store_uri, tmp_path):
    recorder = open_tracking(settings("none"), tmp_path).recorder
    write_study(recorder)
    study = tmp_path / "records" / "s1.jsonl"
    content = study.read_bytes()
    study.unlink()
    assert sync_records(tmp_path / "records", settings(store_uri), output_dir=tmp_path) == {}
    study.write_bytes(content)
    assert sync_records(tmp_path / "records", settings(store_uri), output_dir=tmp_path) == {}
    _, runs = runs_of(store_uri)
    assert runs["s1.t1"].data.tags["mlflow.parentRunId"] == runs["s1"].info.run_id


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("runs/here", "MLflow keeps no runs in plain folders; use sqlite:///FILE.db"),
        ("file:///runs", "MLflow keeps no runs in plain folders"),
        ("http://127.0.0.1:9", "cannot be used .*refused.*; start the server or check the address"),
    ],
)
def test_stores_that_cannot_be_used(uri, message, tmp_path):
    with pytest.raises(TrackingError, match=message):
        open_tracking(settings(uri), tmp_path)
    with pytest.raises(TrackingError, match=message):
        check_tracking(settings(uri), tmp_path)


@pytest.mark.slow
def test_a_deleted_experiment_blocks_only_its_own_task(store_uri, tmp_path):
    client = MlflowClient(store_uri)
    client.delete_experiment(client.create_experiment("dmu_search-tempord"))
    with open_tracking(settings(store_uri), tmp_path) as tracking:
        tracking.begin(["adding"])
        with pytest.raises(TrackingError, match="'dmu_search-tempord' is deleted; restore it"):
            tracking.begin(["tempord"])
        tracking.recorder.start(replace(STUDY, tags={"task": "adding"}))
        assert tracking.settle() is None
    assert client.get_experiment_by_name("dmu_search-adding") is not None


def test_sync_brings_in_the_others_beside_a_deleted_experiment(store_uri, tmp_path, capsys):
    client = MlflowClient(store_uri)
    deleted = client.create_experiment("dmu_search-tempord")
    client.delete_experiment(deleted)
    recorder = open_tracking(settings("none"), tmp_path).recorder
    # The refused ones are in the middle.
    for name, task in (("s1", "adding"), ("s2", "tempord"), ("s3", "noiseseq")):
        recorder.start(replace(STUDY, run_id=name, tags={"task": task}))
        trial = replace(TRIAL, run_id=f"{name}.t1", parent_id=name, tags={"task": task})
        recorder.start(trial)
    words = ["sync", str(tmp_path / "records"), f"output_dir={tmp_path}"]
    words.append(f"tracking.uri={store_uri}")
    assert main(words) == SOME_FAILED
    said = " ".join(capsys.readouterr().out.split())
    assert "4 runs of " in said
    assert "s2 and 1 more are not (the MLflow experiment 'dmu_search-tempord' is deleted" in said
    assert set(runs_of(store_uri)[1]) == {"s1", "s1.t1", "s3", "s3.t1"}
    client.restore_experiment(deleted)
    assert main(words) == DONE
    assert len(runs_of(store_uri)[1]) == 6


def test_checking_creates_nothing(tmp_path):
    assert "made by the first study" in check_tracking(settings(None), tmp_path)
    assert "records only" in check_tracking(settings("none"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_store_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    uri = f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"
    with pytest.raises(StorageError, match="cannot be written"):
        check_tracking(settings(uri), tmp_path)
    with (
        open_tracking(settings(uri), tmp_path) as tracking,
        pytest.raises(StorageError, match="cannot be written"),
    ):
        tracking.check()


def test_each_task_has_an_experiment_and_a_study_of_an_old_store_stays_where_it_is(
    store_uri, beside
):
    client = MlflowClient(store_uri)
    old = client.create_experiment("dmu_search")
    tags = {"dmu_search.run_id": "s1", "dmu_search.kind": "study", "study": "s1"}
    parent = client.create_run(old, tags=tags)
    client.log_param(parent.info.run_id, "space", "x")
    writer = beside()
    for study in (STUDY, replace(STUDY, run_id="s2", name="s2")):
        writer.recorder.start(replace(study, tags={"study": study.name, "task": "adding"}))
        trial = replace(TRIAL, run_id=f"{study.run_id}.t1", parent_id=study.run_id)
        writer.recorder.start(replace(trial, tags={"task": "adding"}))
    writer.send()
    _, runs = runs_of(store_uri)
    assert runs["s1"].info.run_id == parent.info.run_id
    own = client.get_experiment_by_name("dmu_search-adding").experiment_id
    places = {name: run.info.experiment_id for name, run in runs.items()}
    assert places == {"s1": old, "s1.t1": old, "s2": own, "s2.t1": own}


def test_a_resumed_trial_of_an_earlier_version_gets_the_settings_that_it_lacks(store_uri, beside):
    first = beside()
    first.recorder.start(TRIAL)
    first.send()
    before = runs_of(store_uri)[1]["s1.t1"].info.run_id
    params = {**TRIAL.params, "unsearched/training.seed": "0"}
    second = beside()
    second.recorder.start(replace(TRIAL, params=params))
    second.send()
    run = runs_of(store_uri)[1]["s1.t1"]
    assert run.info.run_id == before
    assert run.data.params == {"rate": "0.1", "unsearched/training.seed": "0"}


def test_each_validation_metric_has_the_band_of_its_replicas(store_uri, beside):
    writer = beside()
    writer.recorder.start(TRIAL)
    values = {"val_mse": 2.0, "val_mse/replica_0": 1.0, "val_mse/replica_1": 3.0}
    writer.recorder.log("s1.t1", values, step=1)
    writer.recorder.end("s1.t1", "FINISHED")
    writer.send()
    found = runs_of(store_uri)[1]["s1.t1"].data.metrics
    assert found == {**values, "val_mse/lowest": 1.0, "val_mse/highest": 3.0}


@pytest.mark.parametrize("sent_before", [True, False])
def test_a_run_that_another_process_resumes_is_followed_to_its_new_end(
    store_uri, beside, tmp_path, sent_before
):
    first = beside()
    first.recorder.start(STUDY)
    first.recorder.end("s1", "KILLED")
    if sent_before:
        first.send()
    second = beside()
    second.sending.follow("s1", expected=True)
    second.sending.send()
    # As a worker does: nobody tells the sender.
    worker = Recorder(tmp_path / "records")
    worker.start(STUDY)
    second.sending.send()
    worker.log("s1", {"val_mse": 1.0}, step=1)
    worker.end("s1", "FINISHED")
    second.send()
    run = runs_of(store_uri)[1]["s1"]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["val_mse"] == 1.0
