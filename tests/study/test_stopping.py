"""ASHA's rungs: who is compared with whom."""

import math

import pytest

from dmu_search.study.stopping import Asha, Never, Promotion, Rungs, quantile
from dmu_search.study.trials import TrialState


def trial(number, objectives, status="open", source=None):
    return TrialState(number, {}, source, status, dict(enumerate(objectives, start=1)))


def stops(rule, own, *others):
    trials = {each.number: each for each in (own, *others)}
    return rule.decide(trials, own.number) == "stopped early"


def rule(direction="minimize", *, grace=1, factor=2, most=9, kind=Asha):
    return kind(Rungs.of(grace, most, reduction_factor=factor, direction=direction))


@pytest.mark.parametrize(
    ("grace", "factor", "most", "rungs"),
    [(1, 3, 27, (1, 3, 9)), (2, 2, 9, (2, 4, 8)), (5, 3, 5, ()), (1, 4, 2, (1,))],
)
def test_rungs_lie_below_the_whole_budget(grace, factor, most, rungs):
    assert rule(grace=grace, factor=factor, most=most).rungs.epochs == rungs


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
    assert not stops(rule(kind=Never), trial(0, [9.0]), *(trial(n, [1.0]) for n in range(1, 9)))


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
    asha = rule(factor=3)
    assert stops(asha, own, *others) == stops(asha, own, *reversed(others))


def promotion(*trials):
    return rule(kind=Promotion, factor=3, most=10).due({each.number: each for each in trials})


def paused(number, *objectives):
    return trial(number, objectives, "paused")


def test_promotion_pauses_at_each_rung_but_warm_starts():
    promotion = rule(kind=Promotion, factor=3, most=10)
    decided = [promotion.decide({0: trial(0, [1.0] * epoch)}, 0) for epoch in (1, 2, 3, 4, 9)]
    assert decided == ["paused", "continue", "paused", "continue", "paused"]
    assert promotion.decide({0: trial(0, [1.0], source="paper")}, 0) == "continue"


def test_one_in_three_goes_on_from_a_rung():
    one, two, three = (paused(number, 1.0) for number in range(3))
    assert promotion(one, two) == []
    assert promotion(one, two, three) == [0, 1, 2]
    assert promotion(trial(0, [1.0]), two, three) == []
    four_to_six = [paused(number, 1.0) for number in (3, 4, 5)]
    assert promotion(trial(0, [1.0]), two, three, *four_to_six) == [1, 2, 3, 4, 5]


def test_the_highest_rung_is_filled_first():
    low = [paused(number, 1.0) for number in range(9)]
    high = [paused(number, 1.0, 1.0, 1.0) for number in range(9, 12)]
    assert promotion(*low, *high) == [9, 10, 11]


def test_diverged_trials_count_at_a_rung_but_did_not_go_on():
    diverged = [trial(number, [math.nan], "diverged") for number in (1, 2)]
    assert promotion(paused(0, 1.0), *diverged) == [0]


def test_a_trial_that_met_its_rule_of_success_went_on():
    done = trial(0, [0.1], "finished")
    assert promotion(done, paused(1, 1.0), paused(2, 1.0)) == []
