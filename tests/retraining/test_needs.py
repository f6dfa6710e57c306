"""What is still missing for a table, among trainings that were really recorded."""

import re
from dataclasses import replace

import pytest

from dmu_search.cli.main import main
from dmu_search.data import pairs
from dmu_search.data.loading import load_data
from dmu_search.names import MODELS
from dmu_search.records import Recorder
from dmu_search.results.compact import add_to_compact
from dmu_search.results.trainings import read_runs
from dmu_search.retraining import sources
from dmu_search.retraining.costs import seconds_of
from dmu_search.retraining.exported import write_run_file
from dmu_search.retraining.needs import Job, jobs_of, needs_of, planned, settings_for
from dmu_search.retraining.run import plan_run, retrain
from dmu_search.retraining.sources import sourced

SMALL = {
    "training.replicas": 4,
    "training.max_epochs": 2,
    "data.batches_per_epoch": 1,
    "data.length": 12,
}


def settings(tmp_path, tasks=("adding",), models=("gru",), sources=("paper", "released"), **given):
    return settings_for(
        tasks, models, depths=(), sources=sources, output_dir=tmp_path, given={**SMALL, **given}
    )


def state(tmp_path, found):
    data = {(one.run.task, one.run.data): load_data(one.run.task, one.run.data) for _, one in found}
    return needs_of(found, read_runs(tmp_path / "records"), data=data), data


def carry_out(job, data, tmp_path, on_epoch=lambda _: None):
    own = data[job.run.task, job.run.data]
    plan = planned(job, own, folders=tmp_path / "retrained")
    retrain(
        plan,
        job.run,
        data=own,
        folder=tmp_path / "retrained" / plan.name,
        recorder=Recorder(tmp_path / "records"),
        on_epoch=on_epoch,
    )
    return plan.name


def seeds_of(jobs):
    return [(job.run.training.seed, job.run.training.replicas) for job in jobs]


def test_equal_settings_of_two_sources_are_one_need(tmp_path):
    found = settings(tmp_path, models=MODELS)
    assert {(names, one.run.model) for names, one in found} == {
        (("paper",), "dmu"),
        (("released",), "dmu"),
        (("paper", "released"), "lstm"),
        (("paper", "released"), "gru"),
        (("paper", "released"), "rnn"),
        (("released",), "rhn"),
    }


def test_what_is_recorded_is_not_trained_again(tmp_path):
    found = settings(tmp_path)
    needs, data = state(tmp_path, found)
    (job,) = jobs_of(needs, workers=1)
    assert seeds_of([job]) == [(0, 4)]
    carry_out(job, data, tmp_path)
    needs, _ = state(tmp_path, found)
    assert needs[0].recorded == (0, 1, 2, 3)
    assert jobs_of(needs, workers=1) == ()


def test_more_replicas_need_the_new_seeds_only(tmp_path):
    needs, data = state(tmp_path, settings(tmp_path))
    carry_out(jobs_of(needs, workers=1)[0], data, tmp_path)
    needs, _ = state(tmp_path, settings(tmp_path, **{"training.replicas": 6}))
    assert seeds_of(jobs_of(needs, workers=1)) == [(4, 2)]


@pytest.mark.parametrize(
    "other",
    [
        {"training.max_epochs": 3},
        {"training.learning_rate": 0.01},
        {"data.length": 13},
    ],
)
def test_another_budget_setting_or_data_is_another_need(tmp_path, other):
    needs, data = state(tmp_path, settings(tmp_path))
    carry_out(jobs_of(needs, workers=1)[0], data, tmp_path)
    needs, _ = state(tmp_path, settings(tmp_path, **other))
    assert seeds_of(jobs_of(needs, workers=1)) == [(0, 4)]


def test_a_training_by_any_command_counts(tmp_path):
    run = sourced("paper", "adding", model="gru", depth=2, output_dir=tmp_path, given=SMALL).run
    run = replace(run, training=replace(run.training, seed=1, replicas=2))
    data = load_data("adding", run.data)
    retrain(
        plan_run("train-something", run, data=data, tags={}),
        run,
        data=data,
        folder=tmp_path / "elsewhere",
        recorder=Recorder(tmp_path / "records"),
        on_epoch=lambda _: None,
    )
    needs, _ = state(tmp_path, settings(tmp_path))
    assert needs[0].recorded == (1, 2)
    assert seeds_of(jobs_of(needs, workers=1)) == [(0, 1), (3, 1)]


def test_a_training_that_was_cut_off_goes_on_and_gives_the_same(tmp_path):
    found = settings(tmp_path)
    needs, data = state(tmp_path, found)
    (job,) = jobs_of(needs, workers=1)

    def cut_off(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(job, data, tmp_path, on_epoch=cut_off)
    needs, _ = state(tmp_path, found)
    (again,) = jobs_of(needs, workers=2)
    assert again.continues is not None
    assert again.epochs_left == 1
    name = carry_out(again, data, tmp_path)
    assert name == again.continues.run_id
    (run,) = read_runs(tmp_path / "records")
    assert (run.status, run.epochs) == ("FINISHED", 2)

    other = tmp_path / "other"
    carry_out(job, data, other)
    (whole,) = read_runs(other / "records")
    assert whole.replicas == run.replicas


@pytest.mark.parametrize(
    ("workers", "expected"), [(1, [(0, 4)]), (2, [(0, 2), (2, 2)]), (9, [(i, 1) for i in range(4)])]
)
def test_seeds_are_split_only_for_idle_workers(tmp_path, workers, expected):
    needs, _ = state(tmp_path, settings(tmp_path))
    assert seeds_of(jobs_of(needs, workers)) == expected


def test_costs_come_from_like_trainings_before_a_probe(tmp_path):
    found = settings(tmp_path)
    needs, data = state(tmp_path, found)
    (job,) = jobs_of(needs, workers=1)
    assert seconds_of(job, (), probe=lambda run: 2.5) == 5.0
    carry_out(job, data, tmp_path)
    (recorded,) = read_runs(tmp_path / "records")
    longer = Job(needs[0], replace(job.run, training=replace(job.run.training, max_epochs=10)))
    estimate = seconds_of(longer, [recorded], probe=lambda run: pytest.fail("no need to measure"))
    assert estimate == pytest.approx(recorded.seconds / 2 * 10)


def test_the_best_setting_is_trained_with_seeds_that_the_search_did_not_use(tmp_path):
    file = tmp_path / "best" / "adding" / "gru-d2.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "config: {task: adding, model: gru, depth: 2, network: {widths: [3, 2]},"
        " training: {learning_rate: 0.01, seed: 5, replicas: 3}}\nprovenance: {study: s}\n"
    )
    one = sourced("best", "adding", model="gru", depth=2, output_dir=tmp_path)
    assert one.used_seeds == range(5, 8)
    assert (one.run.training.seed, one.run.training.replicas) == (8, 51)
    assert one.file == file


def test_runs_recorded_elsewhere_are_not_trained_again(tmp_path, capsys):
    found = settings(tmp_path)
    needs, data = state(tmp_path, found)
    (job,) = jobs_of(needs, workers=1)
    first = replace(job.run, training=replace(job.run.training, replicas=3))
    carry_out(Job(needs[0], first), data, tmp_path)
    add_to_compact(read_runs(tmp_path / "records"), tmp_path / "compact")
    words = ["reproduce", "task=adding", "model=gru", *(f"{k}={v}" for k, v in SMALL.items())]
    words += [f"output_dir={tmp_path / 'other'}", "--dry-run"]
    for records in ("records", "compact"):
        assert main([*words, f"records={tmp_path / records}"]) == 0
        assert re.search(r"paper-released +4 +2 +3 +1 ", capsys.readouterr().out)
    assert main([*words, f"records={tmp_path / 'none'}"]) == 2
    assert "records: there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "epochs", "comes_first"),
    [
        ({"objective": 0.4}, 100, True),
        ({"objective": 0.5}, 100, True),
        ({"objective": 0.6}, 100, False),
        # By the rule that also decides which study's file stays: more epochs first.
        ({"objective": 0.6}, 101, True),
        ({"objective": 0.6}, 99, False),
        ({"objective": 0.6, "search_objective": "worst_replica"}, 100, True),
        ({"objective": 0.6, "data": {"name": "adding", "sha256": "0"}}, 100, True),
        # A file of an earlier version, found on other data.
        ({"objective": 0.4, "data": {"name": "mine", "sha256": "0"}}, 100, False),
        # One of the user's own, that no study wrote.
        ({"objective": None}, 100, True),
    ],
)
def test_the_own_best_setting_comes_before_the_shipped_one_unless_worse(
    tmp_path, monkeypatch, changed, epochs, comes_first
):
    run = sourced("paper", "adding", model="gru", depth=2, output_dir=tmp_path).run
    found = {
        "objective": 0.5,
        "search_objective": "mean_over_replicas",
        "data": {"name": "adding", "sha256": "1"},
    }
    shipped, own = (
        tmp_path / place / "best" / "adding" / "gru-d2.yaml" for place in ("shipped", "own")
    )
    monkeypatch.setattr(sources, "configuration_root", lambda: tmp_path / "shipped")
    write_run_file(shipped, run, provenance=found)
    assert (
        sourced("best", "adding", model="gru", depth=2, output_dir=tmp_path / "own").file == shipped
    )
    training = replace(run.training, max_epochs=epochs)
    write_run_file(own, replace(run, training=training), provenance={**found, **changed})
    best = sourced("best", "adding", model="gru", depth=2, output_dir=tmp_path / "own")
    assert best.file == (own if comes_first else shipped)


@pytest.mark.slow
def test_a_task_without_data_is_left_out_and_the_others_are_planned(tmp_path, monkeypatch, capsys):
    # Port 9 is the discard service: it refuses connections.
    moved = replace(pairs.FILES["por-eng"], url="http://127.0.0.1:9/por-eng.zip")
    monkeypatch.setitem(pairs.FILES, "por-eng", moved)
    monkeypatch.setenv("NO_PROXY", "*")
    words = [f"output_dir={tmp_path / 'runs'}", f"data.root={tmp_path / 'cache'}", "--dry-run"]
    assert main(["reproduce", "task=adding,por2eng", "depth=2", *words]) == 1
    shown = capsys.readouterr().out
    assert "left out: por2eng: " in shown
    assert "data.pairs_file=PATH" in shown
    assert "adding-gru-d2-paper-released" in shown
    assert "por2eng-" not in shown

    assert main(["reproduce", "task=por2eng", *words]) == 2
    assert "data.pairs_file=PATH" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
