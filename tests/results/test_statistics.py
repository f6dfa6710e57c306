import math

import numpy as np
import pytest
from scipy import stats

from dmu_search.results.statistics import (
    bootstrap_mean,
    count_test,
    difference,
    mean_and_std,
    rank_test,
    share,
    spread_test,
    student_mean,
    wary_mean,
)


def test_mean_and_sample_deviation():
    assert mean_and_std([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_and_std([4.0]) == (4.0, None)
    assert mean_and_std([]) == (None, None)


def test_students_interval_is_that_of_scipys_test():
    values = [3.5, 3.6, 3.55, 3.7, 3.4]
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = student_mean(values)
    assert found.value == pytest.approx(3.55)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert student_mean([1.0]) is None


def test_seeds_that_all_learned_do_not_rule_out_that_others_fail():
    # None of five: Clopper and Pearson's interval for the share that fail ends at this.
    most = stats.binomtest(0, 5).proportion_ci(0.95, method="exact").high
    found = wary_mean([2.0] * 5, 100.0)
    assert (found.value, found.low) == (2.0, 2.0)
    # The bound is a quantile of some ten thousand draws.
    assert found.high == pytest.approx(2.0 + most * 100.0, rel=0.03)


def test_where_nothing_can_be_far_off_the_interval_is_students():
    values = [3.5, 3.6, 3.55, 3.7, 3.4]
    assert wary_mean(values, 0.3) == student_mean(values)
    assert wary_mean([1.0], 5.0) is None
    assert wary_mean([2.0, 2.0], 0.0) == student_mean([2.0, 2.0])


@pytest.mark.parametrize("failing", [0.05, 0.2, 0.5])
def test_the_interval_holds_the_mean_of_seeds_some_of_which_fail(failing):
    rng = np.random.default_rng(0)
    held = {student_mean: 0, wary_mean: 0}
    studies = 200
    for _ in range(studies):
        fails = rng.random(5) < failing
        losses = np.where(fails, 100.0, rng.lognormal(0.0, 0.7, 5)).tolist()
        mean = failing * 100.0 + (1 - failing) * math.exp(0.7**2 / 2)
        for name, interval in (
            (student_mean, student_mean(losses)),
            (wary_mean, wary_mean(losses, 100.0)),
        ):
            held[name] += interval.low <= mean <= interval.high
    assert held[wary_mean] >= 0.93 * studies
    assert held[student_mean] <= held[wary_mean]
    # A fifth fails: in a third of all samples of five none does.
    assert failing != 0.2 or held[student_mean] < 0.75 * studies


def test_welchs_interval_by_hand():
    # Variances 1/3 and 4/12: error sqrt(2/3), freedom (2/3)^2 / ((1/3)^2/2 + (1/3)^2/11) = 6.769.
    found = difference([1.0, 2.0, 3.0], 1.5, std=2.0, runs=12)
    half = 2.3803 * math.sqrt(2 / 3)
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - half, abs=1e-3)
    assert found.high == pytest.approx(0.5 + half, abs=1e-3)


def test_welchs_interval_is_that_of_scipys_samples():
    ours, theirs = np.array([3.5, 3.6, 3.55, 3.7]), np.array([3.4, 3.65, 3.5, 3.3, 3.45])
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    found = difference(tuple(ours), theirs.mean(), std=theirs.std(ddof=1), runs=len(theirs))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_a_single_run_takes_the_deviation_of_the_others():
    # Student's: error 0.1 sqrt(1 + 1/5), freedom 4, t = 2.7764.
    found = difference([1.2], 1.0, std=0.1, runs=5)
    half = 2.7764 * 0.1 * math.sqrt(1.2)
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.2, 0.2 - half, 0.2 + half), 1e-4
    )
    others = np.array([0.9, 1.0, 1.1])
    found = difference(tuple(others), 1.3, std=None, runs=1)
    expected = stats.ttest_ind(others, [1.3], equal_var=True).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_two_single_runs_have_no_interval():
    assert difference([1.0], 1.0, std=None, runs=1) is None
    assert difference([], 1.0, std=1.0, runs=5) is None
    assert bootstrap_mean([1.0]) is None


def test_equal_runs_differ_by_exactly_as_much():
    found = difference([1.5, 1.5], 1.0, std=0.0, runs=5)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_bootstrap_holds_the_mean_and_is_the_same_every_time():
    values = [3.5, 3.6, 3.55, 3.7, 3.52]
    found = bootstrap_mean(values)
    assert min(values) <= found.low < found.value < found.high <= max(values)
    assert found.value == pytest.approx(np.mean(values))
    assert bootstrap_mean(values) == found


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [1.0, 2.0]])
def test_bootstrap_of_hardly_anything_is_finite(values):
    found = bootstrap_mean(values)
    assert found.low <= found.value <= found.high


def test_wilsons_interval_by_hand():
    # (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with n = 10, p = 0.8, z = 1.96.
    found = share(8, 10)
    assert found.value == 8
    assert (found.low, found.high) == pytest.approx((4.9016, 9.4332), abs=1e-3)
    assert share(0, 51).low == 0
    assert share(51, 51).high == pytest.approx(51)


def test_ranks_of_separate_samples():
    # 2 of the 252 ways to split ten ranks are as extreme.
    assert rank_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert rank_test([math.inf] * 5, [math.inf] * 5) == 1.0
    assert rank_test([3.0] * 9, [math.inf] * 9) < 0.001


def test_counts():
    assert count_test(5, 5, others=0, other_runs=5) == pytest.approx(2 / 252)
    assert count_test(3, 5, others=3, other_runs=5) == 1.0


def test_spreads():
    narrow = [0.0, 0.1, -0.1, 0.05, -0.05, 0.02]
    wide = [0.0, 5.0, -5.0, 7.0, -7.0, 6.0]
    assert spread_test(narrow, wide) < 0.05
    assert spread_test(narrow, [value + 3 for value in narrow]) == pytest.approx(1.0)
