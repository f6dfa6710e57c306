"""Tables as CSV, every number in full."""

import csv
import io
from collections.abc import Iterator

from dmu_search.report.document import Content, Table
from dmu_search.results.estimate import Estimate
from dmu_search.results.statistics import Summary

# What stands in columns of its own beside the value.
_BESIDE: dict[type, tuple[str, ...]] = {Estimate: ("low", "high"), Summary: ("std",)}


def comma_separated(table: Table) -> str:
    """The table with a heading; bounds of intervals and deviations are columns of their own."""
    beside = [
        next(
            (
                _BESIDE[type(row.cells[index])]
                for row in table.rows
                if type(row.cells[index]) in _BESIDE
            ),
            (),
        )
        for index in range(len(table.columns))
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    headings: list[str] = []
    for column, names in zip(table.columns, beside, strict=True):
        headings.append(column.heading)
        headings += [f"{column.heading}, {name}" for name in names]
    writer.writerow(headings)
    for row in table.rows:
        cells = zip(row.cells, beside, strict=True)
        writer.writerow([value for cell, names in cells for value in _values(cell, len(names))])
    return text.getvalue()


def _values(content: Content, beside: int) -> Iterator[Content]:
    if isinstance(content, Estimate):
        yield from (content.value, content.low, content.high)
    elif isinstance(content, Summary):
        yield from (content.mean, content.std)
    else:
        yield content
        yield from (None,) * beside
