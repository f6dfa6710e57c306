"""Proposals of Optuna's samplers, and their mirror for optuna-dashboard."""

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from dmu_search.config.distributions import Interval
from dmu_search.study.mirror import JournalMirror
from dmu_search.study.settings import WarmStart
from tests.study.toy import BATCH, PAPER, RATE, RATIO, RULE, SPACE, carry_out, epoch_of, make


def proposals(**settings):
    study = make(scheduler="none", **settings)
    carry_out(study)
    return [(trial.source, dict(trial.values)) for trial in study.trials.values()]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_seed_decides_the_proposals(sampler):
    first, again = proposals(sampler=sampler), proposals(sampler=sampler)
    other = proposals(sampler=sampler, seed=1)
    assert first == again
    assert first[0] == other[0]
    assert all(a != b for a, b in zip(first[1:], other[1:], strict=True))


def test_parallel_proposals_of_the_startup_phase_do_not_depend_on_results():
    parallel = make(trials=4)
    together = [dict(parallel.next().values) for _ in range(4)]
    assert together == [values for _, values in proposals(trials=4)]


def test_warm_starts_come_first_and_say_so():
    (first, second, third) = proposals(trials=3)
    assert first == ("paper", dict(PAPER.values))
    assert second[0] is third[0] is None


def test_a_conditional_hyperparameter_is_sampled_only_where_it_matters():
    found = [values for _, values in proposals(sampler="random", trials=40)]
    assert {values[RULE] for values in found} == {"paper", "released", "ratio"}
    for values in found:
        assert (RATIO in values) == (values[RULE] == "ratio")


@pytest.mark.parametrize(
    "distribution",
    [
        Interval(0.1, 0.9),
        Interval(1e-4, 1e-1, log=True),
        Interval(0.0, 1.0, step=0.1),
        Interval(8, 64, integer=True),
        Interval(8, 64, integer=True, log=True),
        Interval(16, 64, integer=True, step=16),
    ],
)
def test_both_bounds_can_be_proposed(distribution):
    name = BATCH if distribution.integer else RATE
    bounds = [WarmStart("bound", {name: bound}) for bound in (distribution.low, distribution.high)]
    study = make(space={name: distribution}, sampler="random", trials=2, warm_starts=bounds)
    assert [study.next().values[name] for _ in range(2)] == [distribution.low, distribution.high]


def test_integer_bounds_and_steps_are_sampled():
    space = {BATCH: Interval(16, 64, integer=True, step=16)}
    study = make(space=space, sampler="random", trials=60, warm_starts=())
    assert {study.next().values[BATCH] for _ in range(60)} == {16, 32, 48, 64}


def mirror_of(path, study):
    return JournalMirror(path, "study", direction=study.direction, space=SPACE, metric="val_mse")


def loaded(path):
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name="study", storage=storage)


def test_the_mirror_holds_every_ended_trial_once_under_its_own_number(tmp_path):
    study = make(trials=12)
    path = tmp_path / "optuna.journal"
    carry_out(study, concurrent=3)
    for _ in range(2):
        mirror = mirror_of(path, study)
        mirror.update(study.trials)
        mirror.update(study.trials)
    trials = loaded(path).trials
    assert [trial.number for trial in trials] == list(study.trials)
    assert [trial.params for trial in trials] == [t.values for t in study.trials.values()]
    states = {"finished": "COMPLETE", "stopped early": "PRUNED", "diverged": "FAIL"}
    assert [t.state.name for t in trials] == [states[t.status] for t in study.trials.values()]
    assert loaded(path).best_trial.number == study.best.number
    assert loaded(path).metric_names == ["val_mse"]


def test_a_trial_that_is_not_over_is_running_in_the_mirror(tmp_path):
    study = make(trials=3)
    first, second = study.next(), study.next()
    study.fail(second.number, "x")
    path = tmp_path / "optuna.journal"
    mirror_of(path, study).update(study.trials)
    assert [t.state.name for t in loaded(path).trials] == ["RUNNING", "FAIL"]
    study.report(first.number, epoch_of(first.values, 1))
    study.fail(first.number, "y")
    # Another process takes over.
    mirror = mirror_of(path, study)
    mirror.update(study.trials)
    mirror.update(study.trials)
    ended = loaded(path).trials
    assert [t.state.name for t in ended] == ["FAIL", "FAIL"]
    assert ended[0].intermediate_values.keys() == {1}
    assert ended[0].user_attrs["error"] == "y"


@pytest.mark.parametrize("damage", [b"\xff\x00", b"{}\n", b"not json\n[]\n"])
def test_a_damaged_mirror_is_written_anew(tmp_path, damage):
    study = make(trials=5)
    carry_out(study)
    path = tmp_path / "optuna.journal"
    mirror_of(path, study).update(study.trials)
    path.write_bytes(damage + path.read_bytes())
    mirror_of(path, study).update(study.trials)
    assert len(loaded(path).trials) == 5


def test_a_lock_that_a_killed_process_left_blocks_nothing(tmp_path):
    study = make(trials=2)
    carry_out(study)
    path = tmp_path / "optuna.journal"
    (tmp_path / "optuna.journal.lock").symlink_to(path)
    mirror_of(path, study).update(study.trials)
    (tmp_path / "optuna.journal.lock").unlink()
    assert len(loaded(path).trials) == 2
