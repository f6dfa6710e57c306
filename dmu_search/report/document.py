"""What a report is made of, before it is Markdown, LaTeX, CSV, HTML or lines on a screen."""

from dataclasses import dataclass, replace

from dmu_search.report.strips import Strip
from dmu_search.results.estimate import Estimate
from dmu_search.results.statistics import Summary

Content = str | int | float | Estimate | Summary | None
"""What a cell holds; None where there is nothing to show."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: unique in its table.
        decimals: of its numbers; None for three significant digits.
        signed: whether positive numbers show their sign.
        compact: whether it stands in the table; else in its CSV file alone.
    """

    heading: str
    decimals: int | None = None
    signed: bool = False
    compact: bool = True

    def text(self, content: Content) -> str:
        """``content`` as a reader wants it."""
        if isinstance(content, Estimate):
            low, high = self._number(content.low), self._number(content.high)
            return f"{self._number(content.value)} [{low}, {high}]"
        if isinstance(content, Summary):
            mean = self._number(content.mean)
            return mean if content.std is None else f"{mean} ± {self._number(content.std)}"
        if isinstance(content, float):
            return self._number(content)
        return "" if content is None else str(content)

    def _number(self, value: float) -> str:
        sign = "+" if self.signed else ""
        kind = ".3g" if self.decimals is None else f".{self.decimals}f"
        return f"{value:{sign}{kind}}"


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: one per column.
        published: whether it is the paper's own.
    """

    cells: tuple[Content, ...]
    published: bool = False


@dataclass(frozen=True)
class Table:
    """A table, and what has to be said about it.

    Attributes:
        name: of its files, such as ``table-3``.
        title: its caption.
        columns: at least one.
        rows: any number.
        notes: sentences below it.
        grouped_by: rows that are equal in so many first cells belong together.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    grouped_by: int = 2

    def compact(self) -> "Table":
        """The table without the columns that only its CSV file has."""
        kept = [index for index, column in enumerate(self.columns) if column.compact]
        rows = [replace(row, cells=tuple(row.cells[each] for each in kept)) for row in self.rows]
        return replace(self, columns=tuple(self.columns[each] for each in kept), rows=tuple(rows))

    def texts(self) -> list[list[str]]:
        """Every cell of every row as text."""
        return [
            [column.text(content) for column, content in zip(self.columns, row.cells, strict=True)]
            for row in self.rows
        ]

    def is_number(self, index: int) -> bool:
        """Whether column ``index`` holds numbers, to be flush right."""
        contents = [row.cells[index] for row in self.rows if row.cells[index] is not None]
        return bool(contents) and not any(isinstance(content, str) for content in contents)

    def begins_group(self, index: int) -> bool:
        """Whether row ``index`` does not belong to the one before."""
        if index == 0:
            return False
        before, own = self.rows[index - 1].cells, self.rows[index].cells
        return before[: self.grouped_by] != own[: self.grouped_by]

    def is_alone(self, index: int) -> bool:
        """Whether row ``index`` is a group by itself."""
        last = index + 1 == len(self.rows)
        return (index == 0 or self.begins_group(index)) and (last or self.begins_group(index + 1))


@dataclass(frozen=True)
class Series:
    """One curve of every panel of a figure.

    Attributes:
        label: what it is of.
        model: decides its colour and line.
        reached: threshold -> runs that have reached it after epoch 0, 1, 2 and so on.
    """

    label: str
    model: str
    reached: dict[float, tuple[int, ...]]


@dataclass(frozen=True)
class Chart:
    """A figure: one panel per threshold.

    Attributes:
        name: of its files, such as ``figure-2``.
        title: its caption.
        thresholds: of the panels, descending.
        runs: of each curve, at most.
        series: the curves.
    """

    name: str
    title: str
    thresholds: tuple[float, ...]
    runs: int
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Evidence:
    """One comparison of a claim.

    Attributes:
        words: the numbers.
        outcome: what they say of it.
        details: the numbers of its parts.
    """

    words: str
    outcome: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether a claim of the paper holds in our runs.

    Attributes:
        claim: the paper's words.
        source: whose settings the runs have: ``paper``, ``released`` or ``best``.
        settings: the same in words, with the task where several share a table, and their epochs
            where the paper has more.
        outcome: ``holds``, ``holds in part``, ``does not hold``, ``not tested``, or what is said
            where a comparison shows neither.
        words: how many of the comparisons, and in whose favour; may be empty.
        evidence: each comparison.
    """

    claim: str
    source: str
    settings: str
    outcome: str
    words: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Section:
    """A table or figure of the paper, with all that belongs to it.

    Attributes:
        name: ``table-3``, ``figure-2``.
        title: ``Table 3``, ``Figure 2``.
        tables: the table itself first.
        charts: its figures.
        verdicts: on what the paper says about it.
        rule: by which they are reached.
        missing: what has no runs yet or fewer than the paper, and the command that would give them.
        strips: its cells at a glance.
    """

    name: str
    title: str
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    rule: str = ""
    missing: tuple[str, ...] = ()
    strips: tuple[Strip, ...] = ()

    @property
    def claims(self) -> dict[str, list[Verdict]]:
        """The verdicts on each claim."""
        claims: dict[str, list[Verdict]] = {}
        for verdict in self.verdicts:
            claims.setdefault(verdict.claim, []).append(verdict)
        return claims


@dataclass(frozen=True)
class Report:
    """All sections, and what they were made from.

    Attributes:
        sections: in the order of the paper.
        made_from: a sentence.
        summary: the sentences that matter.
    """

    sections: tuple[Section, ...]
    made_from: str
    summary: tuple[str, ...] = ()

    @property
    def strips(self) -> tuple[Strip, ...]:
        """Those of all sections."""
        return tuple(strip for section in self.sections for strip in section.strips)


def threshold_text(threshold: float) -> str:
    """A threshold as the paper has it: ``1e-2``."""
    return f"{threshold:.0e}".replace("e-0", "e-")
