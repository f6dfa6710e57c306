"""What our runs say on the claims about Tables 3 to 5."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dmu_search.engine.tasks import task_class
from dmu_search.names import TASKS
from dmu_search.paper.published import Check, Published
from dmu_search.report.findings import Finding, p_text
from dmu_search.report.samples import Samples, TaskResults
from dmu_search.results.statistics import (
    SIGNIFICANT,
    Contrast,
    Summary,
    contrast,
    deviations,
    summary,
)

Pair = tuple[Summary, Summary]


@dataclass(frozen=True)
class _Compared:
    """Two models by one measure.

    Attributes:
        record: of the task.
        names: of both, as they are subtracted.
        measure: what of them.
        sign: 1 where more is better, -1 where less is: a claimed advantage is positive then.
        pairs: depth -> our runs of both, where there are enough.
        counts: depth -> how many of both there are, at all depths of the check.
        paper: depth -> the paper's runs of both.
    """

    record: Published
    names: str
    measure: str
    sign: int
    pairs: Mapping[int, Pair]
    counts: Mapping[int, tuple[int, int]]
    paper: Mapping[int, Pair]


def findings_of_table(results: TaskResults, samples: Samples, *, check: Check) -> Iterator[Finding]:
    """One for each model and measure that the check compares, over its depths together."""
    if check.kind == "best_depth":
        yield _best_depth(results, samples, check=check)
        return
    for other in check.than:
        for measure in check.measures:
            compared = _compared(results, samples, check=check, other=other, measure=measure)
            yield _over_depths(compared, results.task, other=other)


def _compared(
    results: TaskResults, samples: Samples, *, check: Check, other: str, measure: str
) -> _Compared:
    depths = [int(each) for each in check.at or results.record.depths]
    sign = _sign(results.task, measure)
    pairs, counts = {}, {}
    for depth in depths:
        values = [
            _values(samples, model, depth=depth, measure=measure) for model in (check.model, other)
        ]
        counts[depth] = len(values[0]), len(values[1])
        if min(counts[depth]) > 1:
            pairs[depth] = summary(values[0]), summary(values[1])
    paper = _of_paper(results.record, check.model, other=other, measure=measure)
    known = {depth: pair for depth, pair in paper.items() if depth in pairs}
    names = _names(check.model.upper(), other.upper(), sign=sign)
    return _Compared(results.record, names, measure, sign, pairs, counts, known)


def _over_depths(compared: _Compared, task: str, *, other: str) -> Finding:
    """The mean difference over all depths that have runs enough, each in the details."""
    depths = [*(compared.pairs or compared.counts)]
    where = f"depth{'s' * (len(depths) > 1)} {', '.join(map(str, depths))}"
    what = f"{where}, {_measure_text(task, compared.measure)}: {compared.names}"
    details = tuple(_details(compared)) if len(compared.counts) > 1 else ()
    if not compared.pairs:
        return Finding(f"{what}: too few runs", details=details)
    found = _difference([*compared.pairs.values()], compared.sign)
    words = f"{what} {_shown(compared.record, found)}, {p_text(found.p_value())}"
    if compared.paper:
        words += _beside_paper(compared, found)
    undecided = _undecided(compared, found)
    return Finding(words, found.value > 0, found.p_value(), other, undecided, details=details)


def _undecided(compared: _Compared, found: Contrast) -> str:
    """What to say where no difference is shown; means may be shown to be alike."""
    margin = None if compared.measure.endswith("spread") else compared.record.margin
    if margin is not None and found.p_outside(margin.value) < SIGNIFICANT:
        return f"no difference, within {margin.value:g}"
    return "no difference seen"


def _details(compared: _Compared) -> Iterator[str]:
    """Each depth alone."""
    for depth, counts in compared.counts.items():
        runs = f"{counts[0]} and {counts[1]} runs"
        if depth not in compared.pairs:
            yield f"depth {depth}: {runs}, not tested"
            continue
        own = _shown(compared.record, _difference([compared.pairs[depth]], compared.sign))
        text = f"depth {depth}: {own}, {runs}"
        if depth in compared.paper:
            theirs = _difference([compared.paper[depth]], compared.sign)
            text += f"; the paper's {_signed(compared.record, theirs.value)}"
        yield text


def _beside_paper(compared: _Compared, found: Contrast) -> str:
    """Whether the paper's difference is within the error of ours, and would have shown."""
    pairs, paper = compared.pairs, compared.paper
    theirs = _difference([*paper.values()], compared.sign)
    share = 1 / len(pairs)
    both = contrast(
        term
        for source, way in ((pairs, share), (paper, -share))
        for first, second in source.values()
        for term in ((way, first), (-way, second))
    )
    p = both.p_value()
    outside = f"lies outside, {p_text(p)}" if p < SIGNIFICANT else "is not contradicted"
    # As if the paper's means and deviations were the truth, of as many runs as ours.
    expected = _difference(
        [
            (replace(paper[depth][0], runs=first.runs), replace(paper[depth][1], runs=second.runs))
            for depth, (first, second) in pairs.items()
        ],
        compared.sign,
    )
    value = _signed(compared.record, theirs.value)
    return f"; the paper's {value} {outside} (power {expected.power():.0%})"


def _sign(task: str, measure: str) -> int:
    less = TASKS[task].direction == "minimize" or measure.endswith("spread")
    return -1 if less else 1


def _names(first: str, second: str, *, sign: int) -> str:
    return f"{first} less {second}" if sign > 0 else f"{second} less {first}"


def _values(samples: Samples, model: str, *, depth: int, measure: str) -> tuple[float, ...]:
    """Of every run: its result, or how far that is from the median of all."""
    sample = samples.get((model, depth))
    split, _, spread = measure.partition("_")
    values = () if sample is None else sample.objective(split)
    return deviations(values) if spread and len(values) > 1 else values


def _of_paper(record: Published, model: str, *, other: str, measure: str) -> dict[int, Pair]:
    """The paper's means of both models by depth; none of a spread, of which it has no error."""
    own, others = record.results.get(model, {}), record.results.get(other, {})
    if measure.endswith("spread"):
        return {}
    return {
        depth: (
            Summary(own[depth][measure].mean, own[depth][measure].std, record.runs),
            Summary(others[depth][measure].mean, others[depth][measure].std, record.runs),
        )
        for depth in own
        if depth in others
    }


def _difference(pairs: Sequence[Pair], sign: int) -> Contrast:
    """The mean over depths of the first model's mean less the second's, times ``sign``."""
    share = sign / len(pairs)
    return contrast(term for first, second in pairs for term in ((share, first), (-share, second)))


def _best_depth(results: TaskResults, samples: Samples, *, check: Check) -> Finding:
    record, sign = results.record, _sign(results.task, "test")
    values = {
        depth: _values(samples, check.model, depth=depth, measure="test") for depth in record.depths
    }
    few = [str(depth) for depth, own in values.items() if len(own) < 2]
    if few:
        return Finding(f"{check.model.upper()}: too few runs at depths {', '.join(few)}")
    ranked = sorted(values, key=lambda depth: sign * statistics.fmean(values[depth]), reverse=True)
    named = next(depth for depth in ranked if depth in check.at)
    other = next(depth for depth in ranked if depth not in check.at)
    found = _difference([(summary(values[named]), summary(values[other]))], sign)
    names = _names(f"depth {named}", f"depth {other}", sign=sign)
    words = f"{check.model.upper()}, {names} {_shown(record, found)}, {p_text(found.p_value())}"
    return Finding(words, found.value > 0, found.p_value())


def _measure_text(task: str, measure: str) -> str:
    split, _, spread = measure.partition("_")
    objective = task_class(task).objective.replace("nll_nats", "loss")
    return f"{'spread of the ' if spread else ''}{split} {objective}"


def _shown(record: Published, found: Contrast) -> str:
    estimate = found.estimate()
    low, high = _signed(record, estimate.low), _signed(record, estimate.high)
    return f"{_signed(record, estimate.value)} [{low}, {high}]"


def _signed(record: Published, value: float) -> str:
    """Two digits of the margin, three decimals at most."""
    margin = 0.01 if record.margin is None else record.margin.value
    return f"{value:+.{min(3, 1 - math.floor(math.log10(margin)))}f}"
