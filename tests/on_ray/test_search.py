"""Small real studies under a real Ray, into a real MLflow store."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from mlflow import MlflowClient

from dmu_search.cli.main import main
from dmu_search.data.loading import load_data, make_task
from dmu_search.engine.training.trainer import Trainer
from dmu_search.errors import StorageError
from dmu_search.folders import claimed
from dmu_search.on_ray.search import past_trials
from dmu_search.records import read_events
from dmu_search.study.files import find_studies
from dmu_search.study.trials import StudyState
from tests.on_ray.conftest import SHORT, SMALL, SMALL_ADDING, Watching, mlflow_runs


def stop_when(condition):
    """What Ctrl-C does, at a moment of the search."""

    def then(trial):
        if condition(trial):
            os.kill(os.getpid(), signal.SIGUSR1)
            return True
        return False

    return Watching(then)


@pytest.fixture
def ignore_late_stop():
    # Tune installs its own handler; outside its loop the signal must not end the tests.
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_study_tries_the_published_settings_first_and_logs_everything(bench):
    study = bench.plan("search.trials=4", "search.scheduler=none")
    watcher = Watching()
    outcome = bench.run(study, watcher=watcher)
    assert outcome.counts == {"finished": 4}
    assert outcome.missing == 0
    assert set(outcome.warm_starts) == {"paper", "released"}
    assert outcome.best.objective <= min(outcome.warm_starts.values())
    client, trials, parents = mlflow_runs(bench, study)
    assert sorted(trials) == [0, 1, 2, 3]
    (parent,) = parents
    for number, run in trials.items():
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["outcome"] == "finished"
        steps = [p.step for p in client.get_metric_history(run.info.run_id, "val_nll_nats")]
        assert steps == [1, 2, 3]
        assert {"train_nll_nats", "test_nll_nats", "best_val_nll_nats"} <= set(run.data.metrics)
        assert float(run.data.params["training.learning_rate"]) > 0
        assert ("warm_start" in run.data.tags) == (number < 2)
    best = trials[outcome.best.number]
    assert best.data.metrics["objective"] == outcome.best.objective
    assert outcome.best.summary["test_nll_nats"] == best.data.metrics["test_nll_nats"]
    assert {view.status for view in watcher.told} == {"running", "finished"}
    assert_best_is_what_its_settings_give(study, outcome.best)

    # Nothing of it is pickled but weights.
    kinds = {path.suffix for path in study.folder.rglob("*") if path.is_file()}
    assert kinds == {".yaml", ".jsonl", ".journal", ".pt"}
    # Of the finished trials one has its last state kept, for its weights; it loads as plain data.
    (checkpoint,) = study.checkpoints.rglob("*.pt")
    assert torch.load(checkpoint, weights_only=True)["epoch"] == 3


@pytest.mark.slow
def test_a_trial_is_judged_by_the_replica_that_the_objective_names(bench):
    words = ("search.trials=2", "search.scheduler=none", "training.replicas=3")
    study = bench.plan(*words, "search.objective=worst_replica")
    # As a resume reads it.
    (found,) = find_studies(bench.folder, study.name, given={})
    assert found.settings.search.objective == "worst_replica"
    outcome = bench.run(found)
    assert outcome.counts == {"finished": 2}
    client, trials, _ = mlflow_runs(bench, study)
    for run in trials.values():
        metrics = run.data.metrics
        own = [metrics[f"best_val_nll_nats/replica_{i}"] for i in range(3)]
        assert len(set(own)) == 3
        assert metrics["objective"] == max(own)
        assert metrics["best_val_nll_nats"] == pytest.approx(sum(own) / 3)
        for name in ("val_nll_nats", "test_nll_nats", "best_epoch"):
            assert {f"{name}/replica_{i}" for i in range(3)} <= set(metrics)
        for epoch in client.get_metric_history(run.info.run_id, "objective"):
            assert epoch.value == max(
                point.value
                for i in range(3)
                for point in client.get_metric_history(
                    run.info.run_id, f"best_val_nll_nats/replica_{i}"
                )
                if point.step == epoch.step
            )
    best = trials[outcome.best.number].data.metrics["objective"]
    assert (
        outcome.best.objective == best == min(t.data.metrics["objective"] for t in trials.values())
    )


def assert_best_is_what_its_settings_give(study, best):
    run = study.settings.run(best.values)
    task = make_task(run.task, load_data(run.task, run.data))
    trainer = Trainer(task, run.network, training=run.training)
    while not trainer.finished:
        result = trainer.run_epoch()
    assert result.metrics[f"best_val_{task.objective}"] == (best.objective,)
    weights = best.weights()
    assert all(torch.equal(weights[name], own) for name, own in trainer.best_state.items())


@pytest.mark.slow
def test_interrupted_and_resumed_is_as_if_never_interrupted(bench, ignore_late_stop):
    words = ("search.trials=5", "search.reduction_factor=2")
    whole = bench.plan(*words)
    expected = bench.run(whole)
    _, ours, _ = mlflow_runs(bench, whole)

    study = bench.plan(*words)
    first = bench.run(study, watcher=stop_when(lambda t: t.number == 1 and t.epoch >= 2))
    assert first.missing == 4
    _, trials, _ = mlflow_runs(bench, study)
    assert trials[1].info.status == "KILLED"
    assert trials[1].data.tags["outcome"] == "interrupted"

    (found,) = find_studies(bench.folder, study.name, given={})
    assert [view.number for view in past_trials(found)] == [0]
    watcher = Watching()
    second = bench.run(found, watcher=watcher)
    assert second.missing == 0
    assert {view.number for view in watcher.told} == {1, 2, 3, 4}
    client, resumed, parents = mlflow_runs(bench, study)
    assert len(parents) == 1
    assert sorted(resumed) == sorted(ours) == [0, 1, 2, 3, 4]
    for number, run in resumed.items():
        assert run.data.params == ours[number].data.params
        assert run.data.tags["outcome"] == ours[number].data.tags["outcome"]
        for metric in ("val_nll_nats", "objective"):
            got = client.get_metric_history(run.info.run_id, metric)
            want = client.get_metric_history(ours[number].info.run_id, metric)
            assert [(p.step, p.value) for p in got] == [(p.step, p.value) for p in want]
    assert second.best.objective == expected.best.objective
    assert second.counts == expected.counts


@pytest.mark.slow
def test_an_objective_that_is_to_be_large(bench, small_files):
    small = ("task=spa2eng", f"data.root={small_files}", "network.widths=[8]", *SHORT)
    study = bench.plan(
        "search.trials=5", "search.scheduler=none", "search.sampler=random", small=small
    )
    watcher = Watching()
    outcome = bench.run(study, watcher=watcher)
    reached = [view.objective for view in watcher.told if view.status == "finished"]
    assert outcome.best.objective == max(reached) > min(reached)
    client, trials, _ = mlflow_runs(bench, study)
    for run in trials.values():
        epochs = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert run.data.metrics["objective"] == max(point.value for point in epochs)
        assert 0 <= run.data.metrics["test_bleu"] <= 100
    assert outcome.best.summary["best_val_accuracy"] == outcome.best.objective


@pytest.mark.slow
def test_a_finished_study_can_be_given_more_trials(bench):
    study = bench.plan("search.trials=2", "search.scheduler=none")
    bench.run(study)
    watcher = Watching()
    outcome = bench.run(study, watcher=watcher, trials=3)
    assert outcome.counts == {"finished": 3}
    assert {view.number for view in watcher.told} == {2}
    again = Watching()
    assert bench.run(study, watcher=again, trials=3).missing == 0
    assert not again.told


@pytest.mark.slow
def test_a_trial_that_meets_the_stop_rule_has_used_its_budget(bench):
    # Every loss is below that, so the first epoch of three is the last.
    stop = ("training.stop_below=1e9", "training.stop_patience=1")
    study = bench.plan("search.trials=3", *stop, small=SMALL_ADDING)
    outcome = bench.run(study)
    assert outcome.counts == {"finished": 3}
    client, trials, _ = mlflow_runs(bench, study)
    for run in trials.values():
        assert run.data.tags["outcome"] == "finished"
        steps = [p.step for p in client.get_metric_history(run.info.run_id, "val_mse")]
        assert steps == [1]
        assert {"train_mse", "test_mse", "best_val_mse"} <= set(run.data.metrics)
    assert_best_is_what_its_settings_give(study, outcome.best)


def test_a_damaged_journal_is_refused_and_left_alone(bench):
    study = bench.plan("search.trials=1")
    study.journal.write_bytes(b"{\n" + study.journal.read_bytes())
    before = study.journal.read_bytes()
    with pytest.raises(StorageError, match=r"journal.jsonl: line 1 is damaged"):
        bench.run(study)
    assert study.journal.read_bytes() == before


@pytest.mark.slow
def test_a_resumed_trial_goes_on_from_its_newest_good_checkpoint(bench, ignore_late_stop):
    words = ("search.trials=1", "search.scheduler=none", "training.max_epochs=6")
    small = [word for word in SMALL if not word.startswith("training.max_epochs")]
    whole = bench.plan(*words, small=small)
    expected = bench.run(whole)
    study = bench.plan(*words, small=small)
    bench.run(study, watcher=stop_when(lambda trial: trial.epoch >= 4))
    # The study may not have heard of the newest file yet.
    noted = [event["file"] for event in study.events() if event["event"] == "checkpoint"]
    newest = study.checkpoints / noted[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    watcher = Watching()
    outcome = bench.run(study, watcher=watcher)
    assert outcome.best.objective == expected.best.objective
    assert any("cannot be read" in (view.problem or "") for view in watcher.told)
    events = study.events()
    epochs = [event["epoch"] for event in events if event["event"] == "result"]
    assert epochs == list(range(1, 7))
    for name, own in expected.best.weights().items():
        assert torch.equal(outcome.best.weights()[name], own)


@pytest.mark.slow
def test_a_killed_search_resumes_and_leaves_no_run_open(bench):
    """A hard kill of a process of its own."""
    words = [word for word in SMALL if not word.startswith("training.max_epochs")]
    words += ["search.trials=4", "training.max_epochs=200", "search.max_concurrent=1"]
    words += ["search.scheduler=none", f"output_dir={bench.folder}", f"data.root={bench.cache}"]
    command = [sys.executable, "-m", "dmu_search", "tune", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "[2/4]  trial 2  running" in line:
            break
    process.kill()
    process.wait()
    (study,) = find_studies(bench.folder, "latest", given={})
    begun = [event["trial"] for event in study.events() if event["event"] == "ask"]
    outcome = bench.run(study)
    assert outcome.counts == {"finished": 4}
    asked = [event["trial"] for event in study.events() if event["event"] == "ask"]
    assert asked == [0, 1, 2, 3]
    assert asked[: len(begun)] == begun
    results = [(e["trial"], e["epoch"]) for e in study.events() if e["event"] == "result"]
    assert sorted(results) == [(t, epoch) for t in range(4) for epoch in range(1, 201)]
    client = MlflowClient(f"sqlite:///{bench.folder / 'mlflow.db'}")
    trials = [run for run in client.search_runs(["1"]) if "trial_number" in run.data.tags]
    assert sorted(run.data.tags["trial_number"] for run in trials) == ["0", "1", "2", "3"]
    assert {run.info.status for run in trials} == {"FINISHED"}


def test_a_second_search_is_told_who_has_the_study(bench, capsys):
    study = bench.plan("search.trials=1")
    with claimed(study.folder):
        assert main(["tune", f"resume={study.name}", f"output_dir={bench.folder}"]) == 2
    assert f"is in use by process {os.getpid()} on " in capsys.readouterr().err
    assert len(study.events()) == 1


@pytest.mark.slow
def test_sixteen_trials_share_four_logical_gpus_until_the_time_budget_ends(tmp_path):
    """Needs a Ray of its own, with GPUs, so the command line in a process of its own."""
    words = [word for word in SMALL if not word.startswith("training.max_epochs")]
    words += ["search.trials=16", "search.scheduler=none", "training.max_epochs=100000"]
    words += ["resources.gpus=4", "resources.gpus_per_trial=0.25", "search.time_budget_s=120"]
    words += ["tracking.uri=none", f"output_dir={tmp_path / 'runs'}"]
    words += [f"data.root={tmp_path / 'cache'}"]
    command = [sys.executable, "-m", "dmu_search", "tune", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 trials, 0.25 GPU" in done.stdout
    assert "the time budget is used up; what finished is kept" in done.stdout
    records = [list(read_events(path)) for path in (tmp_path / "runs" / "records").iterdir()]
    trials = [events for events in records if events[0]["kind"] == "trial"]
    assert len(trials) == 16
    assert all(events[-1]["status"] == "KILLED" for events in trials)
    assert max(events[0]["time_ms"] for events in trials) < min(e[-1]["time_ms"] for e in trials)


RUNGS = (
    *(word for word in SMALL if not word.startswith(("training.max_epochs", "search.checkpoint"))),
    "search.grace_epochs=1",
    "search.reduction_factor=2",
)


def check_paused_trials(study, outcome, trials):
    """Every epoch was trained once, also of those that paused and went on."""
    events = study.events()
    results = [(e["trial"], e["epoch"]) for e in events if e["event"] == "result"]
    assert sorted(results) == sorted({*results})
    assert not [e for e in events if e["event"] == "restart"]
    assert sum(outcome.counts.values()) == trials
    assert outcome.missing == 0
    assert set(outcome.counts) <= {"finished", "stopped early", "diverged"}
    state = StudyState.of(events)
    last = [t.objective for t in state.trials.values() if t.status != "diverged"]
    assert outcome.best.objective == min(last)
    kept = [trial.number for trial in state.trials.values() if trial.checkpoints]
    assert kept == [outcome.best.number]


@pytest.fixture(scope="module")
def uneven(shared_bench):
    """A study, two trials at a time, whose trials are of all kinds; and what was told of it."""
    study = shared_bench.plan(
        "search.trials=9",
        "search.sampler=random",
        "search.seed=8",
        "training.max_epochs=4",
        # The published settings learn slowly beside one of these.
        "training.learning_rate=choice(0.005,0.05,3e38)",
        # No checkpoint but those that a pause needs.
        "search.checkpoint_every_s=1000",
        small=RUNGS,
    )
    watcher = Watching()
    outcome = shared_bench.run(study, concurrent=2, watcher=watcher)
    client, trials, _ = mlflow_runs(shared_bench, study)
    return study, outcome, watcher, client, trials


def test_paused_trials_go_on_from_where_they_were(uneven):
    study, outcome, watcher, client, trials = uneven
    check_paused_trials(study, outcome, 9)
    kinds = [event["event"] for event in study.events()]
    assert "promote" in kinds
    assert kinds.count("end") == outcome.counts["stopped early"]
    assert {"running", "paused", "stopped early", "finished"} <= {v.status for v in watcher.told}
    for number, run in trials.items():
        steps = [p.step for p in client.get_metric_history(run.info.run_id, "objective")]
        epochs = [
            e["epoch"] for e in study.events() if e["event"] == "result" and e["trial"] == number
        ]
        assert steps == epochs
        assert run.data.tags["outcome"] in outcome.counts


def test_weak_trials_are_stopped_but_never_a_warm_start(uneven):
    study, outcome, _, _, trials = uneven
    states = StudyState.of(study.events()).trials.values()
    first = [trial.objectives[1] for trial in states if trial.status != "diverged"]
    warm = max(trial.objectives[1] for trial in states if trial.source is not None)
    assert warm > sorted(first)[len(first) // 2], "a rung would not have stopped it anyway"
    firsts = [run for run in trials.values() if "warm_start" in run.data.tags]
    assert len(firsts) == 2
    assert all(run.data.tags["outcome"] == "finished" for run in firsts)
    stopped = [r for r in trials.values() if r.data.tags["outcome"] == "stopped early"]
    assert len(stopped) == outcome.counts["stopped early"] > 0
    assert all("test_nll_nats" not in run.data.metrics for run in stopped)


def test_a_diverging_trial_fails_alone(uneven):
    _, outcome, _, _, trials = uneven
    diverged = [r for r in trials.values() if r.data.tags["outcome"] == "diverged"]
    assert len(diverged) == outcome.counts["diverged"] > 0
    assert all(float(r.data.params["training.learning_rate"]) > 1 for r in diverged)
    assert all(r.info.status == "FAILED" for r in diverged)
    assert outcome.best.values["training.learning_rate"] < 1


@pytest.mark.slow
def test_a_study_with_paused_trials_is_interrupted_and_resumed(bench, ignore_late_stop):
    words = ("search.trials=12", "search.sampler=gp", "search.warm_start=none")
    often = "search.checkpoint_every_s=0"
    study = bench.plan(*words, "training.max_epochs=6", often, small=RUNGS)
    outcome = bench.run(study, watcher=stop_when(lambda trial: trial.number == 6))
    assert outcome.missing > 0
    assert outcome.counts["paused"] > 0
    outcome = bench.run(study)
    check_paused_trials(study, outcome, 12)
    assert [event["event"] for event in study.events()].count("fit") > 0
