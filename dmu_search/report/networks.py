"""Tables 1 and 2: the networks, and their weight counts beside the paper's."""

import math
import re
from collections.abc import Sequence
from itertools import groupby

from dmu_search.engine.settings import NetworkSettings
from dmu_search.names import MODELS
from dmu_search.paper.published import published
from dmu_search.paper.widths import paper_network, weight_count
from dmu_search.report.document import Column, Content, Row, Section, Table

_TITLES = {
    1: "Table 1: networks of the synthetic tasks",
    2: "Table 2: networks of the tasks on data",
}
_COLUMNS = (
    Column("task"),
    Column("depth"),
    Column("model"),
    Column("widths"),
    Column("weights, ours"),
    Column("as printed"),
    Column("weights, paper"),
    Column("agree"),
)
_FACTORS = {"": 1, "K": 1_000, "M": 1_000_000}


def networks_section(number: int, tasks: Sequence[str]) -> Section:
    """Table 1 or 2 for the tasks that it shows."""
    rows = tuple(row for task in tasks for row in _rows(task))
    notes = [_agreement(rows)]
    if any(published(task).weights_of == "block" for task in tasks):
        names = ", ".join(task for task in tasks if published(task).weights_of == "block")
        notes.append(f"{names}: weights of the recurrent block without its readout, as printed.")
    if number == 2:
        notes.append("The paper prints one count for both networks of a depth.")
    table = Table(f"table-{number}", _TITLES[number], _COLUMNS, rows, tuple(notes))
    return Section(table.name, f"Table {number}", (table,))


def _rows(task: str) -> list[Row]:
    record = published(task)
    networks = [
        (depth, model, widths)
        for models in record.widths.values()
        for model, depths in models.items()
        for depth, widths in depths.items()
    ]
    rows, order = [], list(MODELS)
    for depth, model, widths in sorted(networks, key=lambda each: (each[0], order.index(each[1]))):
        count = counted_weights(task, model, widths=widths)
        printed = record.weights.get(model, {}).get(depth)
        cells: list[Content] = [task, depth, model, widths_text(widths), count]
        if printed is None:
            cells += [None, None, None]
        else:
            own = printed_like(count, printed)
            cells += [own, printed, "yes" if own == printed else "no"]
        rows.append(Row(tuple(cells)))
    return rows


def _agreement(rows: Sequence[Row]) -> str:
    answers = [row.cells[-1] for row in rows if row.cells[-1] is not None]
    text = f"{answers.count('yes')} of {len(answers)} counts agree with the paper as printed."
    others = len(rows) - len(answers)
    return f"{text} {others} networks are the release's alone." if others else text


def counted_weights(task: str, model: str, *, widths: tuple[int, ...]) -> int:
    """Weights of a network, of what the paper counts on this task."""
    if published(task).weights_of == "network":
        return weight_count(task, model, widths=widths)
    network = paper_network(task)(NetworkSettings(model, widths))
    return sum(math.prod(network.shapes[name]) for name in network.recurrent_weights)


def printed_like(count: int, printed: str) -> str:
    """``count`` to the precision of a printed one: 46688 beside ``46.9K`` is ``46.7K``.

    Raises:
        ValueError: ``printed`` is no number, with K, M or nothing behind it.
    """
    match = re.fullmatch(r"\d+(?:\.(\d+))?([KM]?)", printed)
    if match is None:
        raise ValueError(f"must be a number such as 106, 46.7K or 1.7M, got {printed!r}")
    decimals, unit = len(match[1] or ""), match[2]
    return f"{count / _FACTORS[unit]:.{decimals}f}{unit}"


def widths_text(widths: tuple[int, ...]) -> str:
    """Widths as the paper writes them, repeated ones counted: ``(300 x 4, 200)``."""
    parts = []
    for width, group in groupby(widths):
        times = len(list(group))
        parts.append(f"{width}" if times == 1 else f"{width} x {times}")
    return f"({', '.join(parts)})"
