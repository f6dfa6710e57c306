"""Figures 2 to 4: how many runs have reached each threshold by each epoch."""

import math
import statistics
from collections.abc import Sequence

from dmu_search.report.claims import RULE, count_reached, verdicts_of
from dmu_search.report.document import (
    Chart,
    Column,
    Content,
    Row,
    Section,
    Series,
    Table,
    threshold_text,
)
from dmu_search.report.recorded import (
    LESS,
    NetworkResults,
    TaskResults,
    runs_needed,
    runs_text,
    variant_text,
)
from dmu_search.report.settings import NamedSetting
from dmu_search.results.selection import Sample
from dmu_search.results.statistics import share

_NOTES = (
    "Runs whose validation loss fell below the threshold, in brackets Wilson's 95% interval; runs "
    "that diverged count as all others. The paper has curves without numbers.",
    "Median epoch: over all runs, empty where half of them or more never get there.",
    LESS,
)


def curves_section(results: TaskResults, sources: Sequence[str]) -> Section:
    """Figure 2, 3 or 4 with its numbers, and whether the paper's claims hold."""
    record = results.record
    name, title = f"figure-{record.figure}", f"Figure {record.figure}"
    columns = (
        Column("model"),
        Column("settings"),
        Column("runs x epochs"),
        *(Column(f"< {threshold_text(each)}", 0) for each in record.thresholds),
        *(
            Column(f"median epoch, < {threshold_text(each)}", on_screen=False)
            for each in record.thresholds
        ),
    )
    rows = [row for network in results.networks for row in _rows(results, network)]
    others = [row for network in results.networks for row in _variants(results, network)]
    caption = f"{title}: {results.task}, runs that reached each threshold"
    tables = [Table(name, caption, columns, tuple(rows), _NOTES, grouped_by=1)]
    if others:
        tables.append(
            Table(f"{name}-variants", f"{title}, variants", columns, tuple(others), grouped_by=1)
        )
    chart = _chart(results)
    missing = runs_needed(results, f"figure={record.figure}")
    if "best" in sources:
        missing += results.searches_needed()
    return Section(
        name,
        title,
        tuple(tables),
        (chart,) if chart.series else (),
        verdicts_of(results, sources),
        RULE,
        tuple(missing),
    )


def _rows(results: TaskResults, network: NetworkResults) -> list[Row]:
    return [_row(results, network, named.name, sample) for named, sample in network.settings]


def _variants(results: TaskResults, network: NetworkResults) -> list[Row]:
    return [
        _row(results, network, variant_text(each, network), each.sample)
        for each in network.variants
    ]


def _row(results: TaskResults, network: NetworkResults, name: str, sample: Sample | None) -> Row:
    thresholds = results.record.thresholds
    if sample is None:
        return Row((network.model, name, "none yet", *(None for _ in thresholds * 2)))
    shares = [share(count_reached(sample, each), sample.runs) for each in thresholds]
    medians = [_median_epoch(sample, each) for each in thresholds]
    cells: list[Content] = [network.model, name, runs_text(sample, results.record)]
    return Row((*cells, *shares, *medians))


def _median_epoch(sample: Sample, threshold: float) -> float | None:
    median = statistics.median(sample.epochs_to(threshold))
    return median if math.isfinite(median) else None


def _chart(results: TaskResults) -> Chart:
    """One curve per network: the paper's setting, or the release's where the paper has none."""
    record = results.record
    series, budgets, missing = [], set(), []
    for network in results.networks:
        named, sample = next(iter(network.settings), (None, None))
        if named is None or sample is None or named.found.source == "best":
            missing.append(network.model)
            continue
        reached = {each: reached_by_epoch(sample, each) for each in record.thresholds}
        series.append(Series(_label(network, named), network.model, reached))
        budgets.add(runs_text(sample, record))
    title = (
        f"Figure {record.figure}: {results.task}, runs whose validation loss has fallen below each "
        f"threshold; runs x epochs: {', '.join(sorted(budgets))}"
        + (f"; no runs yet: {', '.join(missing)}" if missing else "")
    )
    runs = max((max(map(max, each.reached.values())) for each in series), default=0)
    return Chart(
        f"figure-{record.figure}", title, record.thresholds, max(runs, record.runs), tuple(series)
    )


def _label(network: NetworkResults, named: NamedSetting) -> str:
    source = "" if named.found.source == "paper" else f" ({named.found.source})"
    return f"{network.model.upper()}{source}"


def reached_by_epoch(sample: Sample, threshold: float) -> tuple[int, ...]:
    """Runs that have reached ``threshold`` after epoch 0, 1 .. ``max_epochs``."""
    first = sample.epochs_to(threshold)
    return tuple(sum(epoch <= now for epoch in first) for now in range(sample.max_epochs + 1))
