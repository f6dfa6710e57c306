"""The recorded runs that a cell of a table or figure is made of, and how its number is made."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dmu_search.config.settings import RunSettings
from dmu_search.engine.tasks import task_class
from dmu_search.paper.published import Published
from dmu_search.paper.table_cells import TableCell
from dmu_search.report.document import threshold_text
from dmu_search.report.figure_claims import count_reached
from dmu_search.report.named_settings import SOURCE_NAMES, NamedSetting, lacking_lines
from dmu_search.report.samples import NetworkResults, TaskResults, results_of, variant_text
from dmu_search.report.words import duration
from dmu_search.results.selection import Sample
from dmu_search.results.statistics import mean_and_std
from dmu_search.results.trainings import RecordedRun, Replica
from dmu_search.retraining.agreement import FALSE_ALARM, foretold
from dmu_search.retraining.costs import by_neighbour

_DECIMALS = 3


@dataclass(frozen=True)
class CellRuns:
    """The runs of a network under one setting.

    Attributes:
        names: of the cell with whose settings: ``table-3/rhn-d1/paper``; those that share the
            setting; none for other settings than those of the cell.
        settings: in words: ``paper's = released settings``.
        sentence: how the cell's number is made; or what is missing, and what to type for it.
        sample: the runs; None where there are none.
        trainings: that the runs are from.
        apart: trainings of the setting that do not count, each with the reason.
    """

    names: tuple[str, ...]
    settings: str
    sentence: str
    sample: Sample | None = None
    trainings: tuple[tuple[RecordedRun, tuple[Replica, ...]], ...] = ()
    apart: tuple[tuple[RecordedRun, str], ...] = ()


def runs_of_cell(
    cell: TableCell, runs: Sequence[RecordedRun], *, output_dir: Path, records: Path | None = None
) -> tuple[CellRuns, ...]:
    """What is recorded of a cell, by setting; of the whole network's cell other settings too.

    Args:
        cell: of a table or figure.
        runs: what was recorded.
        output_dir: whose best settings come before those shipped, unless worse.
        records: where the runs were read; None for those of ``output_dir``.

    Raises:
        ConfigError: a file of the best settings is damaged.
    """
    results = results_of(
        cell.task, runs, sources=cell.sources, output_dir=output_dir, records=records
    )
    (network,) = (
        each for each in results.networks if (each.model, each.depth) == (cell.model, cell.depth)
    )
    found = [
        _of_setting(named, sample, cell=cell, results=results, runs=runs)
        for named, sample in network.settings
    ]
    if "best" in cell.sources and all("best" not in named.sources for named, _ in network.settings):
        (line,) = lacking_lines(
            cell.task, [(cell.model, cell.depth)], what="no best settings", command="tune"
        )
        found.append(CellRuns((_named(cell, "best"),), "best found settings", line))
    if cell.source is None:
        found += _variants(network, results)
    return tuple(found)


def _named(cell: TableCell, source: str) -> str:
    return TableCell(cell.task, cell.model, cell.depth, source).name


def _of_setting(
    named: NamedSetting,
    sample: Sample | None,
    *,
    cell: TableCell,
    results: TaskResults,
    runs: Sequence[RecordedRun],
) -> CellRuns:
    names = tuple(_named(cell, source) for source in named.sources)
    settings = f"{named.name} settings"
    same = [run for run in runs if run.run.setting == named.setting]
    counted = _by_training(sample) if sample is not None else ()
    ids = {run.run_id for run, _ in counted}
    apart = tuple((run, _why_apart(run, sample)) for run in same if run.run_id not in ids)
    sentences = [] if sample is None else [how_made(sample, results.record)]
    if sample is None or results.falls_short(sample):
        sentences.append(_what_is_missing(named, sample, cell=cell, results=results, runs=runs))
    return CellRuns(names, settings, " ".join(sentences), sample, counted, apart)


def _variants(network: NetworkResults, results: TaskResults) -> Iterator[CellRuns]:
    for each in network.variants:
        yield CellRuns(
            (),
            variant_text(each, network),
            how_made(each.sample, results.record),
            each.sample,
            _by_training(each.sample),
        )


def _by_training(sample: Sample) -> tuple[tuple[RecordedRun, tuple[Replica, ...]], ...]:
    """The trainings of a sample, each with its replicas that count."""
    pairs = sorted(
        zip(sample.trainings, sample.replicas, strict=True), key=lambda pair: pair[0].run_id
    )
    groups = itertools.groupby(pairs, key=lambda pair: pair[0].run_id)
    own = [list(group) for _, group in groups]
    return tuple((group[0][0], tuple(replica for _, replica in group)) for group in own)


def _why_apart(run: RecordedRun, sample: Sample | None) -> str:
    if not run.ended:
        return f"cut off after epoch {run.epochs}"
    if sample is not None and run.data_sha256 == sample.trainings[0].data_sha256:
        if run.run.training.max_epochs < sample.max_epochs:
            return f"over {run.run.training.max_epochs} epochs only"
        return "its seeds are counted already, or chose the setting"
    return f"on other data: {run.data_name} {run.data_sha256[:12]}"


def _what_is_missing(
    named: NamedSetting,
    sample: Sample | None,
    *,
    cell: TableCell,
    results: TaskResults,
    runs: Sequence[RecordedRun],
) -> str:
    """What to type for runs, and what they cost if a training of a network near it tells."""
    source = named.sources[0]
    what = "no runs" if sample is None else "fewer runs or epochs than the paper's"
    (line,) = lacking_lines(
        cell.task,
        [(cell.model, cell.depth)],
        what=f"{what} with {SOURCE_NAMES[source]} settings",
        command=f"reproduce source={source}{results.seen}",
    )
    line = line[0].upper() + line[1:]
    return f"{line} trains what is missing{_cost(named.found.run, sample, runs=runs)}."


def _cost(run: RunSettings, sample: Sample | None, *, runs: Iterable[RecordedRun]) -> str:
    """That of the runs that are missing: all, where those that are there are too short."""
    training = run.training
    whole = sample is not None and sample.max_epochs >= training.max_epochs
    missing = training.replicas - (sample.runs if sample is not None and whole else 0)
    near = by_neighbour(run, runs)
    if near is None:
        return ""
    seconds, neighbour = near
    return (
        f": {missing} x {training.max_epochs} epochs, about "
        f"{duration(seconds * missing / training.replicas)} of one core, judged by "
        f"{neighbour.run_id}"
    )


def how_made(sample: Sample, record: Published) -> str:
    """How the number of a cell comes from its runs, in sentences."""
    seeds = seeds_text([each.seed for each in sample.replicas])
    if record.table is None:
        counts = [str(count_reached(sample, each)) for each in record.thresholds]
        return (
            "Runs whose validation loss fell below "
            f"{' / '.join(map(threshold_text, record.thresholds))}: {' / '.join(counts)} of "
            f"{sample.runs}, {seeds}, over {sample.max_epochs} epochs; those that diverged count "
            "as all others."
        )
    objective = task_class(sample.setting.task).objective.replace("_", " ")
    paper = record.results.get(sample.setting.model, {}).get(sample.setting.depth, {})
    parts = []
    for split in ("test", "train"):
        own = _mean(*mean_and_std(sample.objective(split)))
        of_paper = f", the paper's {_mean(paper[split].mean, paper[split].std)}" if paper else ""
        parts.append(f"{split} {objective} {own}{of_paper}")
    runs = sample.runs - sample.diverged
    kind = f"Mean ± deviation (n - 1) of {runs} runs" if runs > 1 else f"{runs} run"
    diverged = f"; {sample.diverged} that diverged left out" if sample.diverged else ""
    return (
        f"{'; '.join(parts)}. {kind}, {seeds}{diverged}, over {sample.max_epochs} epochs "
        f"(the paper: {record.runs} over {record.epochs}), each at the epoch with its best "
        f"validation result.{_foretold(sample, sample.objective('test'))}"
    )


def _foretold(sample: Sample, tests: Sequence[float]) -> str:
    found = foretold(tests, run=sample.setting)
    if found is None:
        return ""
    low, high = (f"{each:.{_DECIMALS}f}" for each in (found.low, found.high))
    return (
        f" They foretell test results of {low} to {high} in {1 - FALSE_ALARM:.0%} of further runs."
    )


def _mean(mean: float | None, std: float | None) -> str:
    if mean is None:
        return "unknown"
    spread = "" if std is None else f" ± {std:.{_DECIMALS}f}"
    return f"{mean:.{_DECIMALS}f}{spread}"


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds in words: ``seed 3``; ``seeds 0 to 4, 7``.

    Args:
        seeds: ascending, at least one.
    """
    groups = itertools.groupby(enumerate(seeds), key=lambda pair: pair[1] - pair[0])
    rows = [[seed for _, seed in group] for _, group in groups]
    texts = [f"{row[0]} to {row[-1]}" if len(row) > 1 else str(row[0]) for row in rows]
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(texts)}"
