"""Finalists of small studies, trained under a real Ray into a real MLflow store."""

import shutil
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from dmu_search.data.loading import load_data
from dmu_search.on_ray.resources import TrialShare
from dmu_search.records import RunStart, read_events
from dmu_search.results.trainings import read_run, read_runs
from dmu_search.retraining.finalists import FinalRound, estimates_of
from dmu_search.study.files import find_studies
from dmu_search.study.journal import Journal, read_journal
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.trials import Report, StudyState
from dmu_search.tracking import open_tracking
from tests.on_ray.conftest import SHORT, SMALL_ADDING

WORDS = ("search.scheduler=none", "search.sampler=random", "search.finalist_seeds=2")
TRIALS = 24


def searched(bench, *words, trials=TRIALS, ended=TRIALS, small=SMALL_ADDING):
    """A study whose search has ended, with invented results: later settings seem better."""
    study = bench.plan(*WORDS, f"search.trials={trials}", *words, small=small)
    journal = Journal(study.journal)
    own = SearchStudy.of(study.settings, events=study.events(), append=journal.append)
    for _ in range(ended):
        number = own.next().number
        for epoch in range(1, study.settings.max_epochs + 1):
            done = epoch == study.settings.max_epochs
            value = 1.0 / (number + 1)
            summary = {"test_mse": value} if done else None
            own.report(number, Report(epoch, value, {"val_mse": value}, done, summary))
    journal.close()
    return study


def round_of(bench, study, *, stopped=lambda: False):
    """Train the finalists that are due, or until ``stopped``."""
    final = FinalRound(study)
    ended: list[tuple[str, str | None]] = []
    tracking = open_tracking(replace(study.settings.tracking, uri="none"), bench.folder)
    tracking.recorder.start(RunStart(study.name, study.name, "study"))
    for progress in final.train(
        load_data(study.settings.task, study.settings.data),
        share=TrialShare(cpus=2.0, gpus=0.0, concurrent=1),
        tracking=tracking,
        stopped=stopped,
    ):
        ended.extend(progress.ended)
    bench.sync(study)
    return final, ended


@pytest.fixture(scope="module")
def whole(shared_bench):
    """A study before its finalists were trained, with them, and what was told of them."""
    study = searched(shared_bench)
    before = FinalRound(study)
    return study, before, *round_of(shared_bench, study)


@pytest.fixture
def trained(whole, shared_bench, bench):
    """A copy of it to go on from: the study, its finalists and what was told of them."""
    shutil.copytree(shared_bench.folder, bench.folder, dirs_exist_ok=True)
    (study,) = find_studies(bench.folder, whole[0].name, given={})
    return study, *whole[2:]


def test_the_best_settings_are_trained_over_fresh_seeds_and_the_best_mean_wins(whole, shared_bench):
    bench = shared_bench
    study, before, final, ended = whole
    assert before.due
    assert before.confirmation is None
    assert before.provenance() == {
        "state": "unconfirmed",
        "why": "the finalists have not ended",
        "seeds": 2,
    }
    assert [error for _, error in ended] == [None] * 3
    assert not final.due
    assert final.confirmation == FinalRound(study).confirmation
    confirmation = final.confirmation
    # The paper's setting was the first trial, and seemed the worst.
    assert [each.trial.number for each in confirmation.finalists] == [23, 22, 0]
    means = [each.estimate.value for each in confirmation.finalists]
    assert confirmation.winner.estimate.value == min(means)
    assert confirmation.shrank_by == means[0] - 1 / 24
    assert confirmation.seeds == range(1, 3)
    results = {each.trial.number: each.results for each in confirmation.finalists}
    estimates = estimates_of(results, "minimize")
    for each in confirmation.finalists:
        run_id = f"{study.name}.finalist-{each.trial.number:04d}-2"
        run = read_run(bench.folder / "records" / f"{run_id}.jsonl")
        assert (run.run.training.seed, run.run.training.replicas) == (1, 2)
        assert run.run.setting == study.settings.run(each.trial.values).setting
        assert run.epochs == study.settings.max_epochs
        assert each.results == tuple(replica.metrics["val_mse"] for replica in run.replicas)
        assert each.estimate == estimates[each.trial.number]
    assert read_runs(bench.folder / "records") == (), "finalists are in no table"
    told = final.provenance()
    assert (told["state"], told["seeds"], told["first_seed"]) == ("confirmed", 2, 1)
    assert told["mean"] == min(means)
    low, high = told["interval_95"]
    assert low < told["mean"] < high
    weights = final.weights()
    assert {len(each) for each in weights.values()} == {2}

    client = MlflowClient(f"sqlite:///{bench.folder / 'mlflow.db'}")
    runs = {run.data.tags["dmu_search.run_id"]: run for run in client.search_runs(["1"])}
    parent = runs.pop(study.name)
    assert len(runs) == 3
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["dmu_search.kind"] == "finalist"


def test_a_finalist_that_has_ended_is_not_trained_again(trained, bench):
    study, final, ended = trained
    first, *others = [name for name, _ in ended]
    # As if the process had died when one of them had ended.
    lines = study.journal.read_bytes().splitlines(keepends=True)
    study.journal.write_bytes(b"".join(lines[:-3]))
    for name in others:
        (bench.folder / "records" / f"{name}.jsonl").unlink()
        shutil.rmtree(study.folder / "finalists" / name)
    told = list(read_events(bench.folder / "records" / f"{first}.jsonl"))
    again, rest = round_of(bench, study)
    assert {name for name, _ in rest} == set(others)
    assert list(read_events(bench.folder / "records" / f"{first}.jsonl")) == told
    assert again.confirmation == final.confirmation


def test_finalists_that_are_stopped_stay_due(bench):
    # Long enough that none ends before it is seen to have begun.
    small = ("task=adding", "data.batches_per_epoch=3000", *SHORT)
    study = searched(bench, small=small)
    records = bench.folder / "records"
    first, ended = round_of(bench, study, stopped=lambda: any(records.glob("*.finalist-*")))
    assert ended == []
    assert first.due
    assert first.confirmation is None
    assert FinalRound(study).why_unconfirmed == "the finalists have not ended"
    (begun,) = records.glob("*.finalist-*")
    assert list(read_events(begun))[-1]["status"] == "KILLED"
    assert read_run(begun) is not None
    assert not read_run(begun).ended


def test_finalists_that_all_diverge_confirm_nothing(bench):
    study = searched(bench, "training.learning_rate=1e30", "search.warm_start=none")
    final, ended = round_of(bench, study)
    assert all("every replica diverged" in error for _, error in ended)
    for one in (final, FinalRound(study)):
        assert not one.due
        assert one.confirmation is None
        assert one.provenance() == {
            "state": "unconfirmed",
            "why": "of every finalist a seed had no finite result",
            "seeds": 2,
        }


def test_a_kill_before_the_journal_knows_of_a_result_loses_nothing(trained, bench):
    study, final, _ = trained
    confirmation = final.confirmation
    lines = study.journal.read_bytes().splitlines(keepends=True)
    # The winner, and the last two results.
    study.journal.write_bytes(b"".join(lines[:-3]))
    assert FinalRound(study).due
    again, ended = round_of(bench, study)
    assert ended == []
    assert again.confirmation == confirmation
    # The winner alone.
    study.journal.write_bytes(study.journal.read_bytes().rpartition(b'{"time_ms"')[0])
    assert read_journal(study.journal)[-1]["event"] == "finalist"
    assert FinalRound(study).due
    assert round_of(bench, study)[0].confirmation == confirmation


def test_a_search_that_has_not_ended_has_no_finalists_yet(bench):
    final = FinalRound(searched(bench, ended=TRIALS - 1))
    assert not final.due
    assert final.provenance() == {
        "state": "unconfirmed",
        "why": "the search has not ended",
        "seeds": 2,
    }


def test_a_search_that_reached_its_target_has_ended(bench):
    study = searched(bench, "search.target=0.1", "search.finalist_share=1", ended=10)
    assert FinalRound(study).selection.finalists.trials == (9, 8, 0)


def test_zero_finalists_leave_the_best_as_it_is(bench):
    final = FinalRound(searched(bench, "search.finalists=0"))
    assert not final.due
    assert final.provenance() == {
        "state": "unconfirmed",
        "why": "search.finalists=0",
        "seeds": 0,
    }


def test_a_larger_share_brings_finalists_to_a_search_that_had_none(bench):
    study = searched(bench, trials=4, ended=4)
    assert FinalRound(study).why_unconfirmed == (
        "they need 12 epochs, more than search.finalist_share=0.25 of the 12 that the search "
        "trained"
    )
    (wider,) = find_studies(bench.folder, study.name, given={"search.finalist_share": 1.0})
    assert FinalRound(wider).selection.finalists.trials == (3, 0)


def test_more_trials_are_followed_by_new_finalists(trained, bench):
    study, _, _ = trained
    (more,) = find_studies(bench.folder, study.name, given={"search.trials": TRIALS + 1})
    # Until a further trial begins, what was found stands.
    assert FinalRound(more).confirmation is not None
    journal = Journal(more.journal)
    own = SearchStudy.of(more.settings, events=more.events(), append=journal.append)
    number = own.next().number
    own.report(number, Report(3, 1e-9, {"val_mse": 1e-9}, True, {"test_mse": 1e-9}))
    journal.close()
    final = FinalRound(more)
    assert final.due
    assert final.selection.finalists.trials == (24, 23, 0)
    _, ended = round_of(bench, more)
    # The seeds are the same, so what they gave is known of two of them.
    assert [name for name, _ in ended] == [f"{study.name}.finalist-0024-2"]
    assert FinalRound(more).confirmation.finalists[0].trial.number == 24


@pytest.mark.parametrize("first_seed", [0, 5])
def test_their_seeds_are_none_of_the_search(bench, first_seed):
    study = searched(bench, f"training.seed={first_seed}", "training.replicas=2")
    finalists = FinalRound(study).selection.finalists
    of_search = range(first_seed, first_seed + 2)
    assert not set(of_search) & set(
        range(finalists.first_seed, finalists.first_seed + finalists.seeds)
    )


def test_the_state_is_a_fold_over_the_journal(trained):
    study, final, _ = trained
    state = StudyState.of(study.events())
    assert state.finalists.winner == final.confirmation.winner.trial.number
    kinds = [event["event"] for event in study.events()][-5:]
    assert kinds == ["finalists", "finalist", "finalist", "finalist", "winner"]
