"""Tables 3 to 5: mean and deviation of our runs beside the paper's, and what differs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dmu_search.engine.tasks import task_class
from dmu_search.names import TASKS
from dmu_search.report.claims import rule_of, verdicts_of
from dmu_search.report.document import Column, Content, Row, Section, Table, Verdict
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
from dmu_search.report.strips import Strip, strip_of
from dmu_search.results.estimate import Estimate
from dmu_search.results.selection import OTHER, Sample
from dmu_search.results.statistics import (
    SIGNIFICANT,
    Summary,
    contrast,
    difference,
    holm,
    summary,
)

_DECIMALS = 3
SPLITS = ("test", "train")
_NETWORK = (Column("depth"), Column("model"))
_RESULTS = (
    Column("runs x epochs"),
    Column("train", _DECIMALS),
    Column("test", _DECIMALS),
    Column("test less paper's", _DECIMALS, signed=True),
    Column("train less paper's", _DECIMALS, signed=True, compact=False),
)
_BEST = (
    Column("train, best run", _DECIMALS, compact=False),
    Column("test, best run", _DECIMALS, compact=False),
    Column("test over batches", _DECIMALS, compact=False),
)
_AGAINST = Column("the paper's row")
_NOTES = (
    "Mean ± deviation of the sample (n - 1), at the epoch with the best validation result, without "
    "runs that diverged. In brackets 95% confidence, Welch's (for a single run Student's, which "
    "takes the paper's deviation for ours too). The paper's row is contradicted where test or "
    "training means differ with p < 0.05, by Welch's test and Holm's correction for all such "
    "comparisons of this table and its variants; those of settings found by search, and their "
    "variants, are corrected apart. The CSV file has the best runs as well.",
    LESS,
)


@dataclass(frozen=True)
class _Line:
    """Our runs of one setting of one network.

    Attributes:
        identity: depth and model, with the task before where a table has several.
        name: of the setting.
        sample: the runs.
        ours: test and training results.
        paper: the same of the paper, empty where it has none.
        unchanged: our runs without the change, of a variant.
        found: whether a search found the setting, or that next to it.
        changed: in what a variant differs from it.
    """

    identity: tuple[Content, ...]
    name: str
    sample: Sample
    runs: str
    ours: Mapping[str, Summary]
    paper: Mapping[str, Summary]
    unchanged: Mapping[str, Summary]
    found: bool
    changed: str = ""


def results_section(
    number: int, tasks: Sequence[TaskResults], *, sources: Sequence[str]
) -> Section:
    """Table 3, 4 or 5 with its variants, and whether the paper's claims hold."""
    several = len(tasks) > 1
    lines = [line for each in tasks for line in _lines(each, several=several)]
    others = [line for each in tasks for line in _variants(each, several=several)]
    against = _against_paper([*lines, *others])
    objective = task_class(tasks[0].task).objective.replace("_", " ")
    title = f"Table {number}: {', '.join(each.task for each in tasks)}, {objective}"
    name, task = f"table-{number}", (Column("task"),) * several
    columns = (*task, *_NETWORK, Column("results"), *_RESULTS, _AGAINST, *_BEST)
    rows = _rows(tasks, lines, several=several, against=against)
    tables = [_table(name, title, columns=columns, rows=rows, notes=_NOTES, several=several)]
    if others:
        unchanged = Column("test less unchanged", _DECIMALS, signed=True)
        changed = Column("changed", compact=False)
        columns = (
            *(*task, *_NETWORK, Column("setting"), *_RESULTS),
            *(unchanged, _AGAINST, changed, *_BEST),
        )
        rows = tuple(Row(_cells(line, against, variant=True)) for line in others)
        note = (
            "Recorded runs under other settings, each told by what it changes. Unchanged: our runs "
            "of the setting without the change, over as many epochs."
        )
        title = f"Table {number}, variants"
        tables.append(
            _table(
                f"{name}-variants",
                title,
                columns=columns,
                rows=rows,
                notes=(note,),
                several=several,
            )
        )
    missing = [line for each in tasks for line in runs_needed(each)]
    if "best" in sources:
        missing += [line for each in tasks for line in each.searches_needed()]
    verdicts = [verdict for each in tasks for verdict in _verdicts(each, sources, named=several)]
    return Section(
        name,
        f"Table {number}",
        tuple(tables),
        (),
        tuple(verdicts),
        rule_of(tasks[0].record),
        tuple(missing),
        tuple(_strips(tasks, sources, lines=lines, against=against)),
    )


def _table(
    name: str,
    title: str,
    *,
    columns: tuple[Column, ...],
    rows: tuple[Row, ...],
    notes: tuple[str, ...],
    several: bool,
) -> Table:
    """A table, without the mean over batches where the task has none."""
    if all(row.cells[-1] is None for row in rows):
        columns, rows = columns[:-1], tuple(replace(row, cells=row.cells[:-1]) for row in rows)
    return Table(name, title, columns, rows, notes, grouped_by=2 + several)


def _verdicts(results: TaskResults, sources: Sequence[str], *, named: bool) -> list[Verdict]:
    """The verdicts on a task, with its name where others share the table."""
    prefix = f"{results.task}, " if named else ""
    return [
        replace(each, settings=f"{prefix}{each.settings}") for each in verdicts_of(results, sources)
    ]


def _lines(results: TaskResults, *, several: bool) -> Iterator[_Line]:
    """Our runs under the settings of paper, release and searches."""
    for network in results.networks:
        for named, sample in network.settings:
            if sample is not None:
                yield _line(results, network, sample=sample, named=named, several=several)


def _variants(results: TaskResults, *, several: bool) -> Iterator[_Line]:
    """Our runs under other settings."""
    for network in results.networks:
        for each in network.variants:
            named, unchanged = network.settings[each.nearest]
            if unchanged is not None and unchanged.max_epochs != each.sample.max_epochs:
                unchanged = None
            line = _line(results, network, sample=each.sample, named=named, several=several)
            without = {} if unchanged is None else _of_sample(unchanged)
            name, changed = variant_text(each, network), changes_text(each)
            yield replace(line, name=name, unchanged=without, changed=changed)


def _line(
    results: TaskResults,
    network: NetworkResults,
    *,
    sample: Sample,
    named: NamedSetting,
    several: bool,
) -> _Line:
    paper = results.record.results.get(network.model, {}).get(network.depth, {})
    runs = results.record.runs
    return _Line(
        _identity(results, network, several=several),
        f"ours, {named.name}",
        sample,
        runs_text(sample, results.record),
        _of_sample(sample),
        {split: Summary(paper[split].mean, paper[split].std, runs) for split in paper},
        {},
        named.sources == ("best",),
    )


def _identity(
    results: TaskResults, network: NetworkResults, *, several: bool
) -> tuple[Content, ...]:
    task = (results.task,) * several
    return (*task, network.depth, network.model)


def _of_sample(sample: Sample) -> dict[str, Summary]:
    values = {split: sample.objective(split) for split in SPLITS}
    return {split: summary(own) for split, own in values.items() if own}


def _against_paper(lines: Sequence[_Line]) -> Mapping[int, Mapping[str, float]]:
    """Line -> split -> the p value of its difference from the paper's, corrected for all of them.

    Lines of a single run, or without the paper's results, are missing.
    """
    found: dict[int, dict[str, float]] = {}
    for searched in (False, True):
        tested = [
            (id(line), split, contrast(((1, own), (-1, line.paper[split]))).p_value())
            for line in lines
            for split, own in line.ours.items()
            if line.found == searched and own.std is not None and split in line.paper
        ]
        raised = holm([p for _, _, p in tested])
        for (line, split, _), p in zip(tested, raised, strict=True):
            found.setdefault(line, {})[split] = p
    return found


def _rows(
    tasks: Sequence[TaskResults],
    lines: Sequence[_Line],
    *,
    several: bool,
    against: Mapping[int, Mapping[str, float]],
) -> tuple[Row, ...]:
    """The paper's rows, and ours below each."""
    rows = []
    for results in tasks:
        for network in results.networks:
            identity = _identity(results, network, several=several)
            paper = results.record.results.get(network.model, {}).get(network.depth)
            if paper is not None:
                record = results.record
                train, test = (
                    Summary(paper[split].mean, paper[split].std, record.runs)
                    for split in ("train", "test")
                )
                cells = (f"{record.runs} x {record.epochs}", train, test, None, None, None)
                best = paper["train"].best, paper["test"].best, None
                rows.append(Row((*identity, "the paper", *cells, *best), published=True))
            rows += [Row(_cells(line, against)) for line in lines if line.identity == identity]
    return tuple(rows)


def _cells(
    line: _Line, against: Mapping[int, Mapping[str, float]], *, variant: bool = False
) -> tuple[Content, ...]:
    best = _best(line.sample)
    over_batches = line.sample.objective("test", OTHER)
    return (
        *line.identity,
        line.name,
        line.runs,
        line.ours.get("train"),
        line.ours.get("test"),
        *(_less(line.ours, line.paper, split=split) for split in SPLITS),
        *((_less(line.ours, line.unchanged, split="test"),) * variant),
        _against_text(line, against.get(id(line))),
        *((line.changed,) * variant),
        *(None if best is None else line.sample.objective(split)[best] for split in SPLITS[::-1]),
        summary(over_batches).mean if over_batches else None,
    )


def _less(
    ours: Mapping[str, Summary], others: Mapping[str, Summary], *, split: str
) -> Estimate | None:
    return difference(ours[split], others[split]) if split in ours and split in others else None


def _against_text(line: _Line, p_values: Mapping[str, float] | None) -> str | None:
    """Whether the paper's row is contradicted, and by what."""
    if not line.paper or not line.ours:
        return None
    if p_values is None:
        return "one run: not tested"
    differing = [split for split, p in p_values.items() if p < SIGNIFICANT]
    return f"contradicted: {', '.join(differing)}" if differing else "not contradicted"


def _best(sample: Sample) -> int | None:
    values = sample.objective("test")
    choose = min if TASKS[sample.setting.task].direction == "minimize" else max
    return choose(range(len(values)), key=lambda index: values[index]) if values else None


def _strips(
    tasks: Sequence[TaskResults],
    sources: Sequence[str],
    *,
    lines: Sequence[_Line],
    against: Mapping[int, Mapping[str, float]],
) -> Iterator[Strip]:
    """Each cell of each task under each source's settings."""
    found = {id(line.sample): line for line in lines}

    def state(sample: Sample) -> str:
        line = found[id(sample)]
        p_values = against.get(id(line))
        if p_values is None:
            return "one run"
        if p_values["test"] < SIGNIFICANT:
            less = line.ours["test"].mean < line.paper["test"].mean
            minimised = TASKS[sample.setting.task].direction == "minimize"
            return "better" if less == minimised else "worse"
        return "training differs" if p_values["train"] < SIGNIFICANT else "agrees"

    for each in tasks:
        yield strip_of(each, sources, state=state)
