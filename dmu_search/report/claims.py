"""Whether what the paper says of its results holds in our runs: by rule, from the numbers."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dmu_search.names import TASKS
from dmu_search.paper.published import Check, Published
from dmu_search.report.document import Verdict, threshold_text
from dmu_search.report.named_settings import SOURCE_NAMES
from dmu_search.report.samples import Samples, TaskResults
from dmu_search.results.selection import Sample
from dmu_search.results.statistics import count_test, rank_test, spread_test

SIGNIFICANT = 0.05
RULE = (
    "A claim holds where each of its comparisons goes its way with p < 0.05; it does not hold "
    "where one goes the other way with p < 0.05 divided by their number; else it cannot be "
    "decided. A threshold that no run of either reached says nothing. Tests are two-sided: "
    "Mann-Whitney for results and for epochs until a threshold "
    "(runs that never reach it come last), Fisher for numbers of runs, Brown-Forsythe for their "
    "spread."
)
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "cannot be decided"


@dataclass(frozen=True)
class Finding:
    """One comparison.

    Attributes:
        words: the numbers.
        as_claimed: whether they go the way of the claim; None where runs are missing.
        p: how likely that is by chance; 0 where there is no chance in it.
        silent: whether it says nothing either way: no run of either reached the threshold.
    """

    words: str
    as_claimed: bool | None = None
    p: float = 1.0
    silent: bool = False


def verdicts_of(results: TaskResults, sources: Sequence[str]) -> tuple[Verdict, ...]:
    """The verdict on every claim about a task, for the paper's settings and those with runs."""
    verdicts = []
    for claim in results.record.claims:
        for source in sources:
            samples = results.samples(source)
            if samples or source == sources[0]:
                findings = [
                    finding
                    for check in claim.checks
                    for finding in _findings(results, samples, check=check)
                ]
                verdicts.append(
                    Verdict(
                        claim.quote,
                        _settings_text(source, results.record, samples=samples),
                        outcome(findings),
                        tuple(finding.words for finding in findings),
                    )
                )
    return tuple(verdicts)


def outcome(findings: Sequence[Finding]) -> str:
    """What the findings on all checks of a claim say together; see ``RULE``."""
    telling = [finding for finding in findings if not finding.silent]
    if any(
        finding.as_claimed is False and finding.p * len(telling) < SIGNIFICANT
        for finding in telling
    ):
        return FAILS
    if telling and all(finding.as_claimed and finding.p < SIGNIFICANT for finding in telling):
        return HOLDS
    return UNDECIDED


def _settings_text(source: str, record: Published, *, samples: Samples) -> str:
    epochs = min((sample.max_epochs for sample in samples.values()), default=record.epochs)
    less = f", {epochs} of {record.epochs} epochs" if epochs < record.epochs else ""
    return f"{SOURCE_NAMES[source]} settings{less}"


def _findings(results: TaskResults, samples: Samples, *, check: Check) -> Iterator[Finding]:
    if results.record.figure is None:
        yield from _of_table(results, samples, check=check)
    else:
        yield from _of_figure(results.record, samples, check=check)


def _of_table(results: TaskResults, samples: Samples, *, check: Check) -> Iterator[Finding]:
    minimised = TASKS[results.task].direction == "minimize"
    if check.kind == "best_depth":
        yield _best_depth(results.record, samples, check=check, minimised=minimised)
        return
    for depth in map(int, check.at or results.record.depths):
        for other in check.than:
            names = f"depth {depth}, {check.model} and {other}"
            own = _test_results(samples, check.model, depth=depth)
            against = _test_results(samples, other, depth=depth)
            if not own or not against:
                yield Finding(f"{names}: runs missing")
            elif check.kind == "steadier":
                yield _steadier(names, own, other=against)
            else:
                yield _comparison(names, own, other=against, minimised=minimised)


def _test_results(samples: Samples, model: str, *, depth: int) -> tuple[float, ...]:
    sample = samples.get((model, depth))
    return () if sample is None else sample.objective("test")


def _comparison(
    names: str, own: Sequence[float], *, other: Sequence[float], minimised: bool
) -> Finding:
    p = rank_test(own, other)
    means = statistics.fmean(own), statistics.fmean(other)
    words = (
        f"{names}: test means {means[0]:.3f} and {means[1]:.3f} over {len(own)} and {len(other)} "
        f"runs, {p_text(p)}"
    )
    better = means[0] < means[1] if minimised else means[0] > means[1]
    return Finding(words, better, p)


def _steadier(names: str, own: Sequence[float], *, other: Sequence[float]) -> Finding:
    if min(len(own), len(other)) < 2:
        return Finding(f"{names}: a single run has no spread")
    p = spread_test(own, other)
    spreads = statistics.stdev(own), statistics.stdev(other)
    words = f"{names}: deviations {spreads[0]:.3f} and {spreads[1]:.3f}, {p_text(p)}"
    return Finding(words, spreads[0] < spreads[1], p)


def _best_depth(record: Published, samples: Samples, *, check: Check, minimised: bool) -> Finding:
    values = {depth: _test_results(samples, check.model, depth=depth) for depth in record.depths}
    if not all(values.values()):
        return Finding(f"{check.model} at all depths: runs missing")
    means = {depth: statistics.fmean(own) for depth, own in values.items()}
    ranked = sorted(means, key=lambda depth: means[depth], reverse=not minimised)
    named = [depth for depth in ranked if depth in check.at]
    others = [depth for depth in ranked if depth not in check.at]
    p = rank_test(values[named[0]], values[others[0]])
    words = (
        f"{check.model}: test means {means[named[0]]:.3f} at depth {named[0]} and "
        f"{means[others[0]]:.3f} at depth {others[0]}, {p_text(p)}"
    )
    return Finding(words, ranked[0] in check.at, p)


def _of_figure(record: Published, samples: Samples, *, check: Check) -> Iterator[Finding]:
    by_model = {model: sample for (model, _), sample in samples.items()}
    own = by_model.get(check.model)
    for threshold in check.at or record.thresholds:
        for other in check.than or (None,):
            names = " and ".join(each for each in (check.model, other) if each is not None)
            against = None if other is None else by_model.get(other)
            if own is None or (other is not None and against is None):
                yield Finding(f"below {threshold_text(threshold)}, {names}: runs missing")
            elif against is None:
                yield _alone(record, check, own=own, threshold=threshold)
            else:
                both = f"below {threshold_text(threshold)}, {names}"
                if check.kind == "similar":
                    yield _alike(record, both, own=own, other=against, threshold=threshold)
                else:
                    yield _race(both, own, other=against, threshold=threshold)


def _alone(record: Published, check: Check, *, own: Sample, threshold: float) -> Finding:
    reached = count_reached(own, threshold)
    words = f"below {threshold_text(threshold)}: {check.model} {reached} of {own.runs} runs"
    never = check.kind == "never"
    if own.max_epochs < record.epochs and (reached == 0 if never else reached < own.runs):
        return Finding(f"{words}, with epochs left")
    return Finding(words, reached == 0 if never else 0 < reached < own.runs, 0.0)


def _alike(
    record: Published, names: str, *, own: Sample, other: Sample, threshold: float
) -> Finding:
    words, counts = _counts(names, own, other=other, threshold=threshold)
    p = count_test(counts[0], own.runs, others=counts[1], other_runs=other.runs)
    words = f"{words}, {p_text(p)}"
    if p < SIGNIFICANT:
        return Finding(words, False, p)
    # Few runs never differ significantly; the paper's number of them must not.
    whole = all(
        each.runs >= record.runs and each.max_epochs >= record.epochs for each in (own, other)
    )
    return Finding(words, True, 0.0) if whole else Finding(f"{words}, too few to tell")


def _race(names: str, own: Sample, *, other: Sample, threshold: float) -> Finding:
    words, counts = _counts(names, own, other=other, threshold=threshold)
    if not any(counts):
        return Finding(words, silent=True)
    epochs = own.epochs_to(threshold), other.epochs_to(threshold)
    p = rank_test(*epochs)
    medians = [_epoch_text(statistics.median(each)) for each in epochs]
    words = f"{words}, median epoch {medians[0]} and {medians[1]}, {p_text(p)}"
    return Finding(words, _sooner(*epochs), p)


def _counts(names: str, own: Sample, *, other: Sample, threshold: float) -> tuple[str, list[int]]:
    counts = [count_reached(each, threshold) for each in (own, other)]
    shares = [f"{count} of {each.runs}" for count, each in zip(counts, (own, other), strict=True)]
    return f"{names}: {shares[0]} and {shares[1]} runs", counts


def _sooner(own: Sequence[float], other: Sequence[float]) -> bool:
    """Whether a run of ours is more often ahead of one of the others than behind."""
    return sum((a < b) - (a > b) for a in own for b in other) > 0


def count_reached(sample: Sample, threshold: float) -> int:
    """Runs whose validation objective fell below ``threshold``."""
    return sum(math.isfinite(epoch) for epoch in sample.epochs_to(threshold))


def _epoch_text(epoch: float) -> str:
    return f"{epoch:g}" if math.isfinite(epoch) else "none"


def p_text(p: float) -> str:
    """A p value: ``p = 0.012`` or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
