"""What our runs say on the claims about Figures 2 to 4."""

import math
import statistics
from collections.abc import Iterator, Sequence

from dmu_search.paper.published import Check, Published
from dmu_search.report.document import threshold_text
from dmu_search.report.findings import Finding, p_text
from dmu_search.report.samples import Samples, TaskResults
from dmu_search.results.selection import Sample
from dmu_search.results.statistics import (
    count_test,
    rank_test,
    share_above,
    share_below,
    share_difference,
)


def findings_of_figure(
    results: TaskResults, samples: Samples, *, check: Check
) -> Iterator[Finding]:
    """One for each threshold and model that the check compares."""
    record = results.record
    by_model = {model: sample for (model, _), sample in samples.items()}
    own = by_model.get(check.model)
    for threshold in check.at or record.thresholds:
        for other in check.than or (None,):
            names = " and ".join(each.upper() for each in (check.model, other) if each is not None)
            words = f"below {threshold_text(threshold)}, {names}"
            against = None if other is None else by_model.get(other)
            if own is None or (other is not None and against is None):
                yield Finding(f"{words}: no runs")
            elif against is None:
                yield _alone(record, check, own=own, threshold=threshold)
            elif check.kind == "similar":
                yield _alike(record, words, own=own, other=against, threshold=threshold)
            else:
                yield _race(words, own, other=against, threshold=threshold)


def _alone(record: Published, check: Check, *, own: Sample, threshold: float) -> Finding:
    """Whether next to none of the runs get there, or some and not others."""
    reached, runs = count_reached(own, threshold), own.runs
    margin = _margin(record)
    words = f"below {threshold_text(threshold)}: {check.model.upper()} {reached} of {runs} runs"
    few, many = share_below(reached, runs, share=margin), share_above(reached, runs, share=margin)
    claim, contrary = few, many
    if check.kind == "partly":
        most, all_ = (test(reached, runs, share=1 - margin) for test in (share_below, share_above))
        claim, contrary = max(many, most), min(few, all_)
    as_claimed = claim < contrary
    # Who stops early may still get there.
    if as_claimed and own.max_epochs < record.epochs:
        return Finding(f"{words}, with epochs left")
    p = min(claim, contrary)
    favours = check.model if reached > margin * runs else ""
    return Finding(f"{words}, {p_text(p)}", as_claimed, p, favours, "not shown")


def _alike(
    record: Published, names: str, *, own: Sample, other: Sample, threshold: float
) -> Finding:
    """Whether the shares of runs that get there differ by less than the margin."""
    words, counts = _counts(names, own, other=other, threshold=threshold)
    apart = share_difference(counts[0], own.runs, others=counts[1], other_runs=other.runs)
    margin = _margin(record)
    words = (
        f"{words}, {100 * apart.value:+.0f} points "
        f"[{100 * apart.low:+.0f}, {100 * apart.high:+.0f}]"
    )
    if any(each.max_epochs < record.epochs for each in (own, other)):
        return Finding(f"{words}, with epochs left")
    if -margin < apart.low and apart.high < margin:
        return Finding(words, True, 0.0)
    p = count_test(counts[0], own.runs, others=counts[1], other_runs=other.runs)
    ahead, behind = own.setting.model, other.setting.model
    favours = ahead if apart.value > 0 else behind
    return Finding(f"{words}, {p_text(p)}", False, p, favours, "not shown alike")


def _race(names: str, own: Sample, *, other: Sample, threshold: float) -> Finding:
    words, counts = _counts(names, own, other=other, threshold=threshold)
    if not any(counts):
        return Finding(words, False, silent=True)
    epochs = own.epochs_to(threshold), other.epochs_to(threshold)
    p = rank_test(*epochs)
    medians = [_epoch_text(statistics.median(each)) for each in epochs]
    words = f"{words}, median epoch {medians[0]} and {medians[1]}, {p_text(p)}"
    return Finding(words, _sooner(*epochs), p, favours=other.setting.model)


def _counts(names: str, own: Sample, *, other: Sample, threshold: float) -> tuple[str, list[int]]:
    counts = [count_reached(each, threshold) for each in (own, other)]
    shares = [f"{count} of {each.runs}" for count, each in zip(counts, (own, other), strict=True)]
    return f"{names}: {shares[0]} and {shares[1]} runs", counts


def _margin(record: Published) -> float:
    assert record.margin is not None, "a figure's claims need a margin"
    return record.margin.value


def _sooner(own: Sequence[float], other: Sequence[float]) -> bool:
    """Whether a run of ours is more often ahead of one of the others than behind."""
    return sum((a < b) - (a > b) for a in own for b in other) > 0


def count_reached(sample: Sample, threshold: float) -> int:
    """Runs whose validation objective fell below ``threshold``."""
    return sum(math.isfinite(epoch) for epoch in sample.epochs_to(threshold))


def _epoch_text(epoch: float) -> str:
    return f"{epoch:g}" if math.isfinite(epoch) else "none"
