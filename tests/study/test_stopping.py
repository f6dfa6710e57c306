"""ASHA's rungs: who is compared with whom."""

import math

import pytest

from dmu_search.study.stopping import Asha, Never, asha, quantile
from dmu_search.study.trials import TrialState


def trial(number, objectives, status="open", source=None):
    return TrialState(number, {}, source, status, dict(enumerate(objectives, start=1)))


def stops(rule, own, *others):
    trials = {each.number: each for each in (own, *others)}
    return rule.stops(trials, own.number)


def rule(direction="minimize", grace_epochs=1, reduction_factor=2, max_epochs=9):
    return asha(
        grace_epochs=grace_epochs,
        reduction_factor=reduction_factor,
        max_epochs=max_epochs,
        direction=direction,
    )


@pytest.mark.parametrize(
    ("grace", "factor", "most", "rungs"),
    [(1, 3, 27, (1, 3, 9)), (2, 2, 9, (2, 4, 8)), (5, 3, 5, ()), (1, 4, 2, (1,))],
)
def test_rungs_lie_below_the_whole_budget(grace, factor, most, rungs):
    assert rule(grace_epochs=grace, reduction_factor=factor, max_epochs=most).rungs == rungs


@pytest.mark.parametrize(("direction", "good", "bad"), [("minimize", 1, 9), ("maximize", 9, 1)])
def test_trials_worse_than_those_before_are_stopped(direction, good, bad):
    before = trial(0, [5.0]), trial(1, [5.0])
    assert stops(rule(direction), trial(2, [bad]), *before)
    assert not stops(rule(direction), trial(2, [good]), *before)
    assert not stops(rule(direction), trial(2, [bad], source="paper"), *before)


def test_the_first_at_a_rung_goes_on():
    assert not stops(rule(), trial(0, [1e9]))


def test_only_rungs_compare():
    # Rungs are 1, 2, 4, 8: epoch 3 is none.
    others = [trial(number, [0.0] * 9) for number in range(1, 5)]
    assert not stops(rule(), trial(0, [9.0] * 3), *others)
    assert stops(rule(), trial(0, [9.0] * 4), *others)


def test_a_trial_that_met_its_rule_of_success_counts_in_all_later_rungs():
    done = [trial(number, [0.1], "finished") for number in range(1, 4)]
    assert stops(rule(), trial(0, [5.0] * 4), *done)
    stopped = [trial(number, [0.1], "stopped early") for number in range(1, 4)]
    assert not stops(rule(), trial(0, [5.0] * 4), *stopped)


def test_a_diverged_trial_counts_as_the_worst():
    diverged = [trial(number, [math.nan], "diverged") for number in range(1, 4)]
    assert not stops(rule(), trial(0, [1e9]), *diverged)
    assert stops(rule(), trial(0, [9.0]), *diverged, *(trial(n, [1.0]) for n in range(4, 10)))


def test_a_failed_trial_counts_where_it_was():
    failed = [trial(number, [1.0], "failed") for number in range(1, 4)]
    assert stops(rule(), trial(0, [9.0]), *failed)
    assert not stops(rule(), trial(0, [9.0, 9.0]), *failed)


def test_a_trial_that_skips_a_rung_is_compared_at_the_last():
    own = TrialState(0, {}, None, "open", {5: 9.0})
    others = [trial(number, [1.0] * 5) for number in range(1, 5)]
    assert stops(rule(), own, *others)


def test_without_a_scheduler_nothing_is_stopped():
    assert not stops(Never(), trial(0, [9.0]), *(trial(n, [1.0]) for n in range(1, 9)))


@pytest.mark.parametrize(
    ("numbers", "share", "value"),
    [
        ([1.0], 0.5, 1.0),
        ([1.0, 3.0], 0.5, 2.0),
        ([1.0, 2.0, 4.0], 0.75, 3.0),
        ([1.0, math.inf], 0.5, math.inf),
        ([math.inf, math.inf], 0.3, math.inf),
    ],
)
def test_quantile(numbers, share, value):
    assert quantile(numbers, share) == value


def test_the_same_past_gives_the_same_decision():
    own, others = trial(9, [3.0]), [trial(n, [float(n)]) for n in range(6)]
    assert stops(Asha((1,), 3, "minimize"), own, *others) == stops(
        Asha((1,), 3, "minimize"), own, *reversed(others)
    )
