"""Tables 3 to 5: best, mean and deviation over our runs beside the paper's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dmu_search.engine.tasks import task_class
from dmu_search.names import TASKS
from dmu_search.paper.published import Aggregate
from dmu_search.report.claims import RULE, verdicts_of
from dmu_search.report.document import Column, Content, Row, Section, Table, Verdict
from dmu_search.report.samples import (
    LESS,
    NetworkResults,
    TaskResults,
    runs_needed,
    runs_text,
    variant_text,
)
from dmu_search.results.estimate import Estimate
from dmu_search.results.selection import OTHER, Sample
from dmu_search.results.statistics import bootstrap_mean, difference, mean_and_std

_DECIMALS = 3
_SPLITS = ("train", "test")

# Split -> mean, standard deviation and number of runs; empty where there are none.
# Mean, standard deviation and number of others.
_Other = tuple[float | None, float | None, int]
_Others = Mapping[str, _Other]


def _result_columns(*others: str) -> tuple[Column, ...]:
    """Columns of runs, with the difference of their means from those of ``others``."""
    return (
        Column("runs x epochs"),
        *(
            Column(f"{split} {measure}", _DECIMALS)
            for split in _SPLITS
            for measure in ("best", "mean", "std")
        ),
        *(
            Column(f"{split} mean - {other}", _DECIMALS, signed=True, on_screen=split == "test")
            for other in others
            for split in reversed(_SPLITS)
        ),
        Column("test mean, bootstrap", _DECIMALS, on_screen=False),
        Column("test mean over batches", _DECIMALS, on_screen=False),
    )


_RESULTS = _result_columns("paper's")
_VARIANT_RESULTS = _result_columns("paper's", "unchanged")
_NONE_YET = ("none yet", *(None for _ in _RESULTS[1:]))
_NOTES = (
    "Best: the run with the best test result, with its own training result. Std: of the sample "
    "(n - 1). All are taken at the epoch with the best validation result, without runs that "
    "diverged. In brackets: 95% confidence, Welch's for differences (where ours is a single run "
    "Student's, which takes the paper's deviation for ours too), bootstrap for means.",
    LESS,
)


def results_section(
    number: int, tasks: Sequence[TaskResults], *, sources: Sequence[str]
) -> Section:
    """Table 3, 4 or 5 with its variants, and whether the paper's claims hold."""
    names = ", ".join(each.task for each in tasks)
    title = f"Table {number}: {names}, {task_class(tasks[0].task).objective.replace('_', ' ')}"
    name = f"table-{number}"
    rows = tuple(row for each in tasks for one in each.networks for row in _rows(each, one))
    network = (Column("task", on_screen=len(tasks) > 1), Column("depth"), Column("model"))
    tables = [
        _table(
            name, title, columns=(*network, Column("results"), *_RESULTS), rows=rows, notes=_NOTES
        )
    ]
    others = tuple(row for each in tasks for one in each.networks for row in _variants(each, one))
    if others:
        columns = (*network, Column("setting"), *_VARIANT_RESULTS)
        note = (
            "Recorded runs under other settings, each told by what it changes. Unchanged: our runs "
            "of the setting without the change, over as many epochs."
        )
        title = f"Table {number}, variants"
        tables.append(
            _table(f"{name}-variants", title, columns=columns, rows=others, notes=(note,))
        )
    missing = [line for each in tasks for line in runs_needed(each)]
    if "best" in sources:
        missing += [line for each in tasks for line in each.searches_needed()]
    verdicts = [
        verdict for each in tasks for verdict in _verdicts(each, sources, named=len(tasks) > 1)
    ]
    return Section(
        name, f"Table {number}", tuple(tables), (), tuple(verdicts), RULE, tuple(missing)
    )


def _table(
    name: str,
    title: str,
    *,
    columns: tuple[Column, ...],
    rows: tuple[Row, ...],
    notes: tuple[str, ...],
) -> Table:
    """A table, without the mean over batches where the task has none."""
    if all(row.cells[-1] is None for row in rows):
        columns, rows = columns[:-1], tuple(replace(row, cells=row.cells[:-1]) for row in rows)
    return Table(name, title, columns, rows, notes)


def _verdicts(results: TaskResults, sources: Sequence[str], *, named: bool) -> list[Verdict]:
    """The verdicts on a task, with its name where others share the table."""
    prefix = f"{results.task}, " if named else ""
    return [
        replace(each, settings=f"{prefix}{each.settings}") for each in verdicts_of(results, sources)
    ]


def _rows(results: TaskResults, network: NetworkResults) -> list[Row]:
    identity = (results.task, network.depth, network.model)
    paper = results.record.results.get(network.model, {}).get(network.depth)
    rows = []
    if paper is not None:
        values = [
            value
            for split in _SPLITS
            for value in (paper[split].best, paper[split].mean, paper[split].std)
        ]
        budget = f"{results.record.runs} x {results.record.epochs}"
        cells = (*identity, "the paper", budget, *values, None, None, None, None)
        rows.append(Row(cells, published=True))
    for named, sample in network.settings:
        own = _cells(results, sample, others=[_of_paper(paper, results.record.runs)])
        rows.append(Row((*identity, f"ours, {named.name}", *own)))
    return rows


def _variants(results: TaskResults, network: NetworkResults) -> list[Row]:
    identity = (results.task, network.depth, network.model)
    paper = results.record.results.get(network.model, {}).get(network.depth)
    rows = []
    for each in network.variants:
        unchanged = network.settings[each.nearest][1]
        if unchanged is not None and unchanged.max_epochs != each.sample.max_epochs:
            unchanged = None
        others = [_of_paper(paper, results.record.runs), _of_sample(unchanged)]
        own = _cells(results, each.sample, others=others)
        rows.append(Row((*identity, variant_text(each, network), *own)))
    return rows


def _of_paper(paper: Mapping[str, Aggregate] | None, runs: int) -> _Others:
    if paper is None:
        return {}
    return {split: (paper[split].mean, paper[split].std, runs) for split in _SPLITS}


def _of_sample(sample: Sample | None) -> _Others:
    if sample is None:
        return {}
    values = {split: sample.objective(split) for split in _SPLITS}
    return {split: (*mean_and_std(own), len(own)) for split, own in values.items()}


def _cells(
    results: TaskResults, sample: Sample | None, *, others: Sequence[_Others]
) -> tuple[Content, ...]:
    """The cells of runs, with their differences from ``others``."""
    if sample is None:
        return _NONE_YET
    train, test = (sample.objective(split) for split in _SPLITS)
    best = _best(sample, test)
    return (
        runs_text(sample, results.record),
        None if best is None else train[best],
        *mean_and_std(train),
        None if best is None else test[best],
        *mean_and_std(test),
        *(
            _difference(values, each.get(split))
            for each in others
            for split, values in (("test", test), ("train", train))
        ),
        bootstrap_mean(test),
        mean_and_std(sample.objective("test", OTHER))[0],
    )


def _difference(values: Sequence[float], other: _Other | None) -> Estimate | None:
    if other is None:
        return None
    mean, std, runs = other
    return difference(values, mean, std=std, runs=runs)


def _best(sample: Sample, values: Sequence[float]) -> int | None:
    if not values:
        return None
    choose = min if TASKS[sample.setting.task].direction == "minimize" else max
    return choose(range(len(values)), key=lambda index: values[index])
