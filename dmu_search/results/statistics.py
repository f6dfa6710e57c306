"""Means, intervals and tests, by scipy; intervals are at 95%, tests two-sided."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from dmu_search.results.estimate import CONFIDENCE, Estimate

SIGNIFICANT = 0.05
_RESAMPLES = 9999
_ENOUGH_FOR_RANKS = 10


def mean_and_std(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation (n - 1); None where there are too few values."""
    found = summary(values) if values else None
    return (None, None) if found is None else (found.mean, found.std)


@dataclass(frozen=True)
class Summary:
    """What a table tells of some runs.

    Attributes:
        mean: of their values.
        std: of the sample (n - 1); None of a single run.
        runs: their number.
    """

    mean: float
    std: float | None
    runs: int


def summary(values: Sequence[float]) -> Summary:
    """Of some values, at least one."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(float(np.mean(values)), std, len(values))


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of means of independent samples, such as the difference of two.

    Attributes:
        value: of the sum.
        error: its standard error.
        freedom: degrees of it, by Welch and Satterthwaite.
    """

    value: float
    error: float
    freedom: float

    def estimate(self) -> Estimate:
        """The value with its interval."""
        half = self._quantile(0.5 + CONFIDENCE / 2) * self.error
        return Estimate(self.value, self.value - half, self.value + half)

    def p_value(self, expected: float = 0.0) -> float:
        """Of the two-sided test that the true value is ``expected``."""
        return min(1.0, 2 * self._beyond(abs(self.value - expected)))

    def p_outside(self, margin: float) -> float:
        """Of two one-sided tests that the true value is ``margin`` or more away from 0.

        Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for
        assessing the equivalence of average bioavailability" (1987).
        """
        return self._beyond(margin - abs(self.value))

    def power(self, share: float = SIGNIFICANT) -> float:
        """How often such samples would show a true value as large as this, in its direction.

        Args:
            share: of samples without any difference in which the two-sided test sees one.
        """
        if self.error == 0:
            return float(self.value != 0)
        reached = self._quantile(1 - share / 2)
        return float(stats.nct.sf(reached, self.freedom, abs(self.value) / self.error))

    def _quantile(self, share: float) -> float:
        return float(stats.t.ppf(share, self.freedom))

    def _beyond(self, distance: float) -> float:
        if self.error == 0:
            return float(distance <= 0)
        return float(stats.t.sf(distance / self.error, self.freedom))


def contrast(terms: Iterable[tuple[float, Summary]]) -> Contrast:
    """The sum of means, each times its weight, with the error that their runs give it.

    Args:
        terms: weight and runs of each mean; at least two runs each.
    """
    parts = [
        (weight * each.mean, (weight * each.std) ** 2 / each.runs, each.runs)
        for weight, each in terms
        if each.std is not None
    ]
    variance = sum(own for _, own, _ in parts)
    spread = sum(own**2 / (runs - 1) for _, own, runs in parts)
    return Contrast(
        sum(value for value, _, _ in parts),
        math.sqrt(variance),
        variance**2 / spread if spread else math.inf,
    )


def difference(ours: Summary, others: Summary) -> Estimate | None:
    """Mean of ours less that of others, with Welch's interval; None where neither has two values.

    Where one of them is a single value, the deviation of the others is taken to be that of both
    (Student's interval).
    """
    if ours.std is not None and others.std is not None:
        return contrast(((1, ours), (-1, others))).estimate()
    common = ours.std if others.std is None else others.std
    if common is None:
        return None
    error = common * math.sqrt(1 / ours.runs + 1 / others.runs)
    return Contrast(ours.mean - others.mean, error, ours.runs + others.runs - 2).estimate()


def deviations(values: Sequence[float]) -> tuple[float, ...]:
    """How far each value is from their median: what Brown and Forsythe compare for two samples."""
    middle = statistics.median(values) if values else 0.0
    return tuple(abs(value - middle) for value in values)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """The p values, each raised for the number of tests.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979): where those below a
    level count, the probability that any of them is chance alone is at most that level.
    """
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    raised = [1.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(ranked):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        raised[index] = least
    return tuple(raised)


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


def share(successes: int, runs: int) -> Estimate:
    """How many of ``runs`` succeed, with Wilson's interval, in runs."""
    interval = stats.binomtest(successes, runs).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes, float(interval.low) * runs, float(interval.high) * runs)


def rank_test(ours: Sequence[float], others: Sequence[float]) -> float:
    """The p value of Mann and Whitney's test; infinite values come last."""
    return _p_value(stats.mannwhitneyu(ours, others).pvalue)


def count_test(ours: int, our_runs: int, *, others: int, other_runs: int) -> float:
    """The p value of Fisher's exact test that two shares are equal."""
    table = np.array([[ours, our_runs - ours], [others, other_runs - others]])
    return _p_value(stats.fisher_exact(table).pvalue)


def share_difference(ours: int, our_runs: int, *, others: int, other_runs: int) -> Estimate:
    """The difference of two shares of runs; both bounds hold with 95%, so the interval with 90%.

    Where it lies within a margin, two one-sided tests show that the shares are that much alike.
    Newcombe, "Interval estimation for the difference between independent proportions" (1998),
    method 10.
    """
    shares, lows, highs = zip(
        *(_wilson(each, runs) for each, runs in ((ours, our_runs), (others, other_runs))),
        strict=True,
    )
    value = shares[0] - shares[1]
    below = math.hypot(shares[0] - lows[0], highs[1] - shares[1])
    above = math.hypot(highs[0] - shares[0], shares[1] - lows[1])
    return Estimate(value, value - below, value + above)


def _wilson(successes: int, runs: int) -> tuple[float, float, float]:
    """A share, and between which values it lies with 90%."""
    share, z = successes / runs, float(special.ndtri(1 - SIGNIFICANT))
    middle = share + z * z / (2 * runs)
    half = z * math.sqrt(share * (1 - share) / runs + (z / (2 * runs)) ** 2)
    scale = 1 + z * z / runs
    return share, (middle - half) / scale, (middle + half) / scale


def share_below(successes: int, runs: int, *, share: float) -> float:
    """The p value of the exact binomial test that a share of all is ``share`` or more."""
    return float(stats.binomtest(successes, runs, share, alternative="less").pvalue)


def share_above(successes: int, runs: int, *, share: float) -> float:
    """The p value of the exact binomial test that a share of all is ``share`` or less."""
    return float(stats.binomtest(successes, runs, share, alternative="greater").pvalue)


def _p_value(value: float) -> float:
    # Samples without any difference at all give nan.
    return 1.0 if math.isnan(value) else float(value)


def chance_of_next(
    values: Sequence[float], new: Sequence[float], *, logarithms: bool = False
) -> float:
    """Chance that further values are as far from the known ones as ``new``, were all alike.

    By ranks (Mann and Whitney) where there are ten known values or more, for some of them may be
    far from the others; else by Student's prediction of their mean, for ranks say nothing then.

    Args:
        values: known ones, two or more.
        new: one or more; infinite ones are the worst.
        logarithms: whether means are those of logarithms.
    """
    if len(values) >= _ENOUGH_FOR_RANKS:
        return float(stats.mannwhitneyu(values, new).pvalue)
    both = [np.asarray(each, dtype=float) for each in (values, new)]
    known, further = [np.log(each) for each in both] if logarithms else both
    distance = abs(float(further.mean() - known.mean()))
    if not math.isfinite(distance):
        return 0.0
    error = float(known.std(ddof=1)) * math.sqrt(1 / len(known) + 1 / len(further))
    return float(2 * stats.t.sf(distance / error, len(known) - 1)) if error else float(not distance)


def prediction(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Where a further value lies, were it like the known ones, by Student.

    Args:
        values: known ones, two or more.
        confidence: how often it lies there.

    Returns:
        The middle of the interval and half its width.
    """
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1))
    quantile = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1))
    return mean, quantile * std * math.sqrt(1 + 1 / len(values))
