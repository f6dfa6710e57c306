"""Figures 2 to 4: how many runs have reached each threshold by each epoch."""

import math
import statistics
from collections.abc import Sequence

from dmu_search.report.claims import rule_of, verdicts_of
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
from dmu_search.report.figure_claims import count_reached
from dmu_search.report.named_settings import NamedSetting
from dmu_search.report.samples import (
    LESS,
    NetworkResults,
    TaskResults,
    changes_text,
    runs_needed,
    runs_text,
    variant_text,
)
from dmu_search.report.strips import strip_of
from dmu_search.results.selection import Sample
from dmu_search.results.statistics import share

_NOTES = (
    "Runs whose validation loss fell below the threshold, in brackets Wilson's 95% interval; runs "
    "that diverged count as all others. The paper has curves without numbers.",
    "The CSV file has the median epochs over all runs, empty where half or more never get there.",
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
            Column(f"median epoch, < {threshold_text(each)}", compact=False)
            for each in record.thresholds
        ),
        Column("changed", compact=False),
    )
    rows = [row for network in results.networks for row in _rows(results, network)]
    others = [row for network in results.networks for row in _variants(results, network)]
    caption = f"{title}: {results.task}, runs that reached each threshold"
    tables = [Table(name, caption, columns, tuple(rows), _NOTES, grouped_by=1)]
    if others:
        tables.append(
            Table(f"{name}-variants", f"{title}, variants", columns, tuple(others), grouped_by=1)
        )
    charts = (_published_chart(results), _best_chart(results))
    missing = runs_needed(results)
    if "best" in sources:
        missing += results.searches_needed()
    return Section(
        name,
        title,
        tuple(tables),
        tuple(chart for chart in charts if chart.series),
        verdicts_of(results, sources),
        rule_of(record),
        tuple(missing),
        (strip_of(results, sources, state=lambda _: "run"),),
    )


def _rows(results: TaskResults, network: NetworkResults) -> list[Row]:
    return [
        _row(results, network, name=named.name, sample=sample)
        for named, sample in network.settings
        if sample is not None
    ]


def _variants(results: TaskResults, network: NetworkResults) -> list[Row]:
    return [
        _row(
            results,
            network,
            name=variant_text(each, network),
            sample=each.sample,
            changed=changes_text(each),
        )
        for each in network.variants
    ]


def _row(
    results: TaskResults,
    network: NetworkResults,
    *,
    name: str,
    sample: Sample,
    changed: str | None = None,
) -> Row:
    thresholds = results.record.thresholds
    shares = [share(count_reached(sample, each), sample.runs) for each in thresholds]
    medians = [_median_epoch(sample, each) for each in thresholds]
    cells: list[Content] = [network.model, name, runs_text(sample, results.record)]
    return Row((*cells, *shares, *medians, changed))


def _median_epoch(sample: Sample, threshold: float) -> float | None:
    median = statistics.median(sample.epochs_to(threshold))
    return median if math.isfinite(median) else None


def _published_chart(results: TaskResults) -> Chart:
    """One curve per network: the paper's setting, or the release's where the paper has none."""
    drawn = []
    for network in results.networks:
        named, sample = next(iter(network.settings), (None, None))
        if named is not None and sample is not None and named.found.source != "best":
            drawn.append((_label(network, named), network.model, sample))
    return _chart(results, "", settings="", drawn=drawn)


def _best_chart(results: TaskResults) -> Chart:
    """One curve per network with a best found setting."""
    drawn = [
        (network.model.upper(), network.model, sample)
        for network in results.networks
        for named, sample in network.settings
        if "best" in named.sources and sample is not None
    ]
    return _chart(results, "-best", settings=", with the best found settings", drawn=drawn)


def _chart(
    results: TaskResults, suffix: str, *, settings: str, drawn: Sequence[tuple[str, str, Sample]]
) -> Chart:
    """The curves of ``drawn``: label, model and runs of each."""
    record = results.record
    series = tuple(
        Series(label, model, {each: reached_by_epoch(sample, each) for each in record.thresholds})
        for label, model, sample in drawn
    )
    budgets = sorted({runs_text(sample, record) for _, _, sample in drawn})
    models = {model for _, model, _ in drawn}
    missing = [network.model for network in results.networks if network.model not in models]
    title = (
        f"Figure {record.figure}: {results.task}{settings}, runs whose validation loss has fallen "
        f"below each threshold; runs x epochs: {', '.join(budgets)}"
        + (f"; no runs yet: {', '.join(missing)}" if missing else "")
    )
    runs = max((max(map(max, each.reached.values())) for each in series), default=0)
    name = f"figure-{record.figure}{suffix}"
    return Chart(name, title, record.thresholds, max(runs, record.runs), series)


def _label(network: NetworkResults, named: NamedSetting) -> str:
    source = "" if named.found.source == "paper" else f" ({named.found.source})"
    return f"{network.model.upper()}{source}"


def reached_by_epoch(sample: Sample, threshold: float) -> tuple[int, ...]:
    """Runs that have reached ``threshold`` after epoch 0, 1 .. ``max_epochs``."""
    first = sample.epochs_to(threshold)
    return tuple(sum(epoch <= now for epoch in first) for now in range(sample.max_epochs + 1))
