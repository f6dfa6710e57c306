"""Means, intervals and tests, by scipy; intervals are at 95%, tests two-sided."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

from dmu_search.results.estimate import CONFIDENCE, Estimate

_RESAMPLES = 9999


def mean_and_std(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation (n - 1); None where there are too few values."""
    mean = float(np.mean(values)) if values else None
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return mean, std


def difference(
    values: Sequence[float], mean: float | None, *, std: float | None, runs: int
) -> Estimate | None:
    """Mean of ours less another mean, with Welch's interval; None where neither has two values.

    Where one of them is a single value, the deviation of the others is taken to be that of both
    (Student's interval).

    Args:
        values: ours.
        mean: of the others.
        std: their sample standard deviation.
        runs: their number.
    """
    our_mean, our_std = mean_and_std(values)
    if our_mean is None or mean is None:
        return None
    value, own_runs = our_mean - mean, len(values)
    if our_std is not None and std is not None:
        variances = our_std**2 / own_runs, std**2 / runs
        error = math.sqrt(sum(variances))
        # Welch and Satterthwaite; scipy has the test for summaries, but not its interval.
        spread = variances[0] ** 2 / (own_runs - 1) + variances[1] ** 2 / (runs - 1)
        freedom = error**4 / spread if spread else math.inf
    elif (common := our_std if std is None else std) is not None:
        error = common * math.sqrt(1 / own_runs + 1 / runs)
        freedom = own_runs + runs - 2
    else:
        return None
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * error
    return Estimate(value, value - half, value + half)


def student_mean(values: Sequence[float]) -> Estimate | None:
    """The mean with Student's interval, for few values; None below two."""
    mean, std = mean_and_std(values)
    if mean is None or std is None:
        return None
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * std / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


def wary_mean(losses: Sequence[float], reach: float) -> Estimate | None:
    """The mean of a few losses, with an interval that allows for failures that none of them shows.

    Losses of seeds that learn are close together, and that of a seed that fails is far above. A few
    that all learned say nothing of it, so Student's interval would not hold the mean. Its upper
    end is raised to the bound for a mean of values that have a known largest one, by Learned-Miller
    and Thomas, "A New Confidence Interval for the Mean of a Bounded Random Variable" (2019).

    Args:
        losses: one of each seed.
        reach: how far above the least of them a loss may be.

    Returns:
        None below two losses.
    """
    student = student_mean(losses)
    if student is None:
        return None
    least = min(losses)
    above = np.array([*(loss - least for loss in losses), max(*losses, least + reach) - least])
    # How much of all seeds each of these may stand for: shares as of an interval cut at random.
    shares = np.random.default_rng(0).dirichlet(np.ones(len(above)), _RESAMPLES)
    high = least + float(np.quantile(shares @ above, 0.5 + CONFIDENCE / 2))
    return Estimate(student.value, student.low, max(student.high, high))


def bootstrap_mean(values: Sequence[float]) -> Estimate | None:
    """The mean with its bootstrap interval (BCa); None below two values."""
    if len(values) < 2:
        return None
    mean = float(np.mean(values))
    if len(set(values)) == 1:
        return Estimate(mean, mean, mean)
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            # BCa is undefined for some small samples; then its bounds are nan.
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            low, high = stats.bootstrap(
                (np.asarray(values),),
                np.mean,
                n_resamples=_RESAMPLES,
                confidence_level=CONFIDENCE,
                method=method,
                rng=np.random.default_rng(0),
            ).confidence_interval
        if math.isfinite(low) and math.isfinite(high):
            break
    return Estimate(mean, float(low), float(high))


def share(successes: int, runs: int) -> Estimate:
    """How many of ``runs`` succeed, with Wilson's interval, in runs."""
    interval = stats.binomtest(successes, runs).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes, float(interval.low) * runs, float(interval.high) * runs)


def rank_test(ours: Sequence[float], others: Sequence[float]) -> float:
    """The p value of Mann and Whitney's test; infinite values come last."""
    return _p_value(stats.mannwhitneyu(ours, others).pvalue)


def spread_test(ours: Sequence[float], others: Sequence[float]) -> float:
    """The p value of Brown and Forsythe's test that two samples scatter alike."""
    return _p_value(float(stats.levene(ours, others, center="median").pvalue))


def count_test(ours: int, our_runs: int, *, others: int, other_runs: int) -> float:
    """The p value of Fisher's exact test that two shares are equal."""
    table = np.array([[ours, our_runs - ours], [others, other_runs - others]])
    return _p_value(stats.fisher_exact(table).pvalue)


def _p_value(value: float) -> float:
    # Samples without any difference at all give nan.
    return 1.0 if math.isnan(value) else float(value)


def interval_of_next(values: Sequence[float], count: int, *, chance: float) -> tuple[float, float]:
    """Where the mean of ``count`` further values lies: Student's prediction interval.

    Args:
        values: known ones, two or more; normal, and the further ones alike.
        count: of the further ones.
        chance: that their mean lies outside.
    """
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf(1 - chance / 2, len(values) - 1)) * std
    half *= math.sqrt(1 / len(values) + 1 / count)
    return mean - half, mean + half
