"""Means of finalists over fresh seeds, with intervals."""

import math

import pytest

from dmu_search.results.estimate import Estimate
from dmu_search.results.statistics import student_mean
from dmu_search.retraining.finalists import estimates_of

LEARNED = (0.002, 0.001, 0.003, 0.001, 0.002)
# Two of its seeds did not learn.
FAILING = (0.17, 0.001, 0.002, 0.17, 0.001)


def test_a_finalist_whose_seeds_all_learned_may_have_others_that_fail():
    alone = estimates_of({1: LEARNED}, "minimize")[1]
    beside = estimates_of({1: LEARNED, 2: FAILING}, "minimize")[1]
    assert alone.value == beside.value
    assert alone.high < 0.005
    # Half of its seeds, at most.
    assert 0.07 < beside.high < 0.1


def test_no_mean_is_negative_where_no_result_is():
    assert student_mean(FAILING).low < 0
    assert estimates_of({1: FAILING}, "minimize")[1].low == 0
    below = tuple(value - 1 for value in FAILING)
    assert estimates_of({1: below}, "minimize")[1].low == student_mean(below).low
    assert estimates_of({1: FAILING, 2: below}, "minimize")[1].low < 0


def test_where_large_is_good_the_low_end_allows_for_failures():
    right, failing = (0.90, 0.91, 0.92, 0.91, 0.90), (0.9, 0.1, 0.9, 0.1, 0.9)
    found = estimates_of({1: right, 2: failing}, "maximize")[1]
    student = student_mean(right)
    assert (found.value, found.high) == pytest.approx((student.value, student.high))
    assert 0.4 < found.low < 0.6
    mirrored = estimates_of({1: [-v for v in right], 2: [-v for v in failing]}, "minimize")[1]
    assert mirrored == Estimate(-found.value, -found.high, -found.low)


def test_a_seed_without_a_finite_result_leaves_no_interval_and_no_mark():
    found = estimates_of({1: LEARNED, 2: (0.001, math.nan, 0.002, 0.003, 0.002)}, "minimize")
    assert found[2] is None
    assert found[1] == estimates_of({1: LEARNED}, "minimize")[1]
    assert estimates_of({1: (math.nan, math.nan)}, "minimize") == {1: None}
