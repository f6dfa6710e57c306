"""All cells of the paper's results at a glance: where our runs agree, and where there are none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dmu_search.paper.table_cells import TableCell, names_in_short
from dmu_search.report.named_settings import SOURCE_NAMES
from dmu_search.report.samples import TaskResults
from dmu_search.results.selection import Sample

# State -> its sign and what it means.
STATES = {
    "agrees": ("=", "neither test nor training result is contradicted"),
    "training differs": ("≈", "the test result is not contradicted, the training result is"),
    "better": ("▲", "our test result is better than the paper's"),
    "worse": ("▼", "our test result is worse than the paper's"),
    "one run": ("1", "a single run, not tested"),
    "run": ("●", "trained; the paper has a curve without numbers"),
    "none yet": ("·", "not yet run"),
}


@dataclass(frozen=True)
class Strip:
    """The cells of a task.

    Attributes:
        section: name of that which has the results.
        title: where they are from, and the task.
        columns: the networks.
        names: of their cells, as ``report cell=`` takes them.
        rows: name of the settings, and the state of each cell; None where there is no such setting.
    """

    section: str
    title: str
    columns: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str | None, ...]], ...]


def strip_of(
    results: TaskResults, sources: Sequence[str], *, state: Callable[[Sample], str]
) -> Strip:
    """The state of every cell of a task under the settings of each source.

    Args:
        results: of the task.
        sources: whose settings.
        state: of a cell with runs, a key of ``STATES``.
    """
    record = results.record
    one_depth = record.figure is not None
    columns = tuple(
        network.model.upper() if one_depth else f"{network.model.upper()} {network.depth}"
        for network in results.networks
    )
    rows = []
    for source in sources:
        states = []
        for network in results.networks:
            own = [sample for named, sample in network.settings if source in named.sources]
            # A setting that nobody has published; a search can still find one.
            missing = "none yet" if own or source == "best" else None
            sample = next(iter(own), None)
            states.append(missing if sample is None else state(sample))
        rows.append((SOURCE_NAMES[source], tuple(states)))
    title = f"{record.place.replace('-', ' ').capitalize()}, {results.task}"
    names = tuple(
        TableCell(results.task, network.model, network.depth).name for network in results.networks
    )
    return Strip(record.place, title, columns, names, tuple(rows))


def how_to_list_runs() -> str:
    """How a reader comes from a cell to its runs, in a sentence."""
    return (
        "`python -m dmu_search report cell=table-3/dmu-d1`, with the `records=` of this report, "
        "lists the runs of a cell: seeds, commit, engine, data and results. Names of cells: "
        f"{', '.join(f'`{name}`' for name in names_in_short())}, and each with `/paper`, "
        "`/released` or `/best` for these settings alone."
    )
