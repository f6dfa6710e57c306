"""Tables as CSV, every number in full."""

import csv
import io
from collections.abc import Iterator

from dmu_search.report.document import Content, Table
from dmu_search.results.estimate import Estimate


def comma_separated(table: Table) -> str:
    """The table with a heading; an estimate is three columns: itself and its interval's bounds."""
    estimates = [
        any(isinstance(row.cells[index], Estimate) for row in table.rows)
        for index in range(len(table.columns))
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    headings: list[str] = []
    for column, is_estimate in zip(table.columns, estimates, strict=True):
        headings.append(column.heading)
        headings += [f"{column.heading}, {bound}" for bound in ("low", "high")] * is_estimate
    writer.writerow(headings)
    for row in table.rows:
        cells = zip(row.cells, estimates, strict=True)
        writer.writerow([value for cell, wide in cells for value in _values(cell, wide)])
    return text.getvalue()


def _values(content: Content, wide: bool) -> Iterator[Content]:
    if isinstance(content, Estimate):
        yield from (content.value, content.low, content.high)
    else:
        yield content
        yield from (None, None) * wide
