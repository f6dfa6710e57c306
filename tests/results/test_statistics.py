import math

import numpy as np
import pytest
from scipy import stats

from dmu_search.results.statistics import (
    Summary,
    contrast,
    count_test,
    deviations,
    difference,
    holm,
    mean_and_std,
    rank_test,
    share,
    share_above,
    share_below,
    share_difference,
    student_mean,
    summary,
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
    found = difference(summary([1.0, 2.0, 3.0]), Summary(1.5, 2.0, 12))
    half = 2.3803 * math.sqrt(2 / 3)
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - half, abs=1e-3)
    assert found.high == pytest.approx(0.5 + half, abs=1e-3)


def test_welchs_interval_is_that_of_scipys_samples():
    ours, theirs = np.array([3.5, 3.6, 3.55, 3.7]), np.array([3.4, 3.65, 3.5, 3.3, 3.45])
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    found = difference(summary(ours), summary(theirs))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_a_single_run_takes_the_deviation_of_the_others():
    # Student's: error 0.1 sqrt(1 + 1/5), freedom 4, t = 2.7764.
    found = difference(summary([1.2]), Summary(1.0, 0.1, 5))
    half = 2.7764 * 0.1 * math.sqrt(1.2)
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.2, 0.2 - half, 0.2 + half), 1e-4
    )
    others = np.array([0.9, 1.0, 1.1])
    found = difference(summary(others), Summary(1.3, None, 1))
    expected = stats.ttest_ind(others, [1.3], equal_var=True).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_two_single_runs_have_no_interval():
    assert difference(summary([1.0]), Summary(1.0, None, 1)) is None


def test_equal_runs_differ_by_exactly_as_much():
    found = difference(summary([1.5, 1.5]), Summary(1.0, 0.0, 5))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


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


def test_a_contrast_of_two_samples_is_welchs_test():
    ours, theirs = np.array([3.5, 3.6, 3.55, 3.7]), np.array([3.4, 3.65, 3.5, 3.3, 3.45])
    found = contrast(((1, summary(ours)), (-1, summary(theirs))))
    for shift in (0.0, 0.2):
        expected = stats.ttest_ind(ours, theirs + shift, equal_var=False)
        assert found.p_value(shift) == pytest.approx(expected.pvalue, rel=1e-9)


def test_deviations_are_what_brown_and_forsythe_compare():
    narrow, wide = [0.0, 0.1, -0.1, 0.05, -0.05], [0.3, 5.0, -5.0, 7.0, -7.0]
    expected = stats.levene(narrow, wide, center="median").pvalue
    # Levene's is the same test with one variance for both.
    found = stats.ttest_ind(deviations(narrow), deviations(wide)).pvalue
    assert found == pytest.approx(expected, rel=1e-9)


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


@pytest.mark.parametrize(
    ("runs", "true", "margin"), [(5, 0.0, 0.2), (5, 0.2, 0.2), (20, 0.05, 0.1)]
)
def test_size_and_power_of_the_equivalence_test_by_simulation(runs, true, margin):
    rng = np.random.default_rng(0)
    studies, std, shown = 800, 0.1, 0
    for study in range(studies):
        ours, theirs = rng.normal(true, std, runs), rng.normal(0.0, std, runs)
        found = contrast(((1, summary(ours)), (-1, summary(theirs)))).p_outside(margin) < 0.05
        shown += found
        if study >= 20:
            continue
        bounds = [
            stats.ttest_ind(ours, theirs + way * margin, equal_var=False, alternative=side).pvalue
            for way, side in ((-1, "greater"), (1, "less"))
        ]
        assert found == (max(bounds) < 0.05)
    if true >= margin:
        # A difference at the margin is taken for none in a twentieth of all studies at most, and
        # not much seldomer: that is the level; its estimate here has an error of 0.008.
        assert 0.025 < shown / studies < 0.07
    else:
        assert shown / studies > 0.3


def test_power_is_how_often_a_difference_is_seen():
    rng = np.random.default_rng(0)
    studies, seen = 800, 0
    for _ in range(studies):
        ours, theirs = rng.normal(0.07, 0.025, 5), rng.normal(0.0, 0.037, 5)
        found = contrast(((1, summary(ours)), (-1, summary(theirs))))
        seen += found.p_value() < 0.05 and found.value > 0
    stated = contrast(((1, Summary(0.07, 0.025, 5)), (-1, Summary(0.0, 0.037, 5)))).power()
    # The freedom of a simulated study varies, that of the stated one does not.
    assert seen / studies == pytest.approx(stated, abs=0.04)


def test_newcombes_interval_holds_the_difference_of_shares():
    # The published example of the method: 56 of 70 and 48 of 80, at 95%: 0.0524 to 0.3339. At 90%
    # it lies within that, around the same difference.
    found = share_difference(56, 70, others=48, other_runs=80)
    assert found.value == pytest.approx(0.2)
    assert 0.0524 < found.low < 0.2 < found.high < 0.3339


@pytest.mark.parametrize("share_", [0.9, 0.98])
def test_shares_at_the_margin_are_seldom_taken_for_alike(share_):
    """By every outcome of 51 runs of each, weighted by how likely it is."""
    runs, margin = 51, 0.1
    least = stats.binomtest(48, runs).proportion_ci(0.9, method="wilson")
    found = share_difference(48, runs, others=0, other_runs=10**9)
    assert (found.low, found.high) == pytest.approx((least.low, least.high), abs=1e-6)
    counts = np.arange(runs + 1)
    first = stats.binom.pmf(counts, runs, share_)
    second = stats.binom.pmf(counts, runs, share_ - margin)
    alike = 0.0
    for ours in counts[first > 1e-4]:
        for others in counts[second > 1e-4]:
            found = share_difference(int(ours), runs, others=int(others), other_runs=runs)
            alike += first[ours] * second[others] * (-margin < found.low and found.high < margin)
    assert 0 < alike < 0.06


def test_exact_bounds_of_a_share():
    # None of 51: 0.9^51.
    assert share_below(0, 51, share=0.1) == pytest.approx(0.9**51)
    assert share_above(0, 51, share=0.1) == 1.0
    assert share_below(1, 51, share=0.1) < 0.05 < share_below(2, 51, share=0.1)
