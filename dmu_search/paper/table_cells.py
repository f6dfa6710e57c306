"""The names of the cells of the paper's tables and figures: ``table-3/dmu-d1/released``."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dmu_search.config.keys import SOURCES
from dmu_search.errors import ConfigError
from dmu_search.names import MODELS, TASKS
from dmu_search.paper.published import Published, published


@dataclass(frozen=True)
class TableCell:
    """The results of a network in a table or figure of the paper.

    Attributes:
        task: what is learned.
        model: the recurrent network.
        depth: its layers.
        source: whose settings: ``paper``, ``released``, ``best``; None for all of them.
    """

    task: str
    model: str
    depth: int
    source: str | None = None

    @property
    def name(self) -> str:
        """``table-3/dmu-d1/released``, ``table-5/spa2eng-dmu-d1``, ``figure-2/gru``."""
        record = published(self.task)
        task = f"{self.task}-" if _shares_its_table(record) else ""
        depth = "" if record.table is None else f"-d{self.depth}"
        source = "" if self.source is None else f"/{self.source}"
        return f"{record.place}/{task}{self.model}{depth}{source}"

    @property
    def title(self) -> str:
        """``Table 3, polymusic: DMU at depth 1``."""
        place = published(self.task).place.replace("-", " ").capitalize()
        return f"{place}, {self.task}: {self.model.upper()} at depth {self.depth}"

    @property
    def sources(self) -> tuple[str, ...]:
        """Whose settings it can show; a search may find some for every network."""
        if self.source is not None:
            return (self.source,)
        settings = published(self.task).settings
        return tuple(
            source
            for source in SOURCES
            if source == "best" or self.depth in settings[source].get(self.model, {})
        )


def find_cell(name: str) -> TableCell:
    """The cell of that name, with or without whose settings.

    Raises:
        ConfigError: there is none; the message names the nearest and all there are.
    """
    known = {each.name: each for cell in _cells() for each in (cell, *_of_each_source(cell))}
    if name in known:
        return known[name]
    network = known.get(name.rpartition("/")[0])
    near = [each.name for each in _of_each_source(network)] if network else []
    near = near or difflib.get_close_matches(name, known, n=3)
    meant = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise ConfigError(
        f"cell: there is no {name}{meant}; there are {', '.join(names_in_short())}, and each with "
        f"/{', /'.join(SOURCES)} for these settings alone"
    )


def names_in_short() -> tuple[str, ...]:
    """The names of all cells, those of a table or figure as ``table-3/{dmu,rhn}-d{1,2,5,10}``."""
    places: dict[str, list[TableCell]] = {}
    for cell in _cells():
        places.setdefault(published(cell.task).place, []).append(cell)
    return tuple(_in_short(place, cells) for place, cells in places.items())


def _in_short(place: str, cells: list[TableCell]) -> str:
    record = published(cells[0].task)
    depths = sorted({cell.depth for cell in cells})
    tasks = f"{_any_of(cell.task for cell in cells)}-" if _shares_its_table(record) else ""
    depth = "" if record.table is None else f"-d{_any_of(map(str, depths))}"
    return f"{place}/{tasks}{_any_of(cell.model for cell in cells)}{depth}"


def _any_of(words: Iterator[str]) -> str:
    return f"{{{','.join(dict.fromkeys(words))}}}"


def _cells() -> Iterator[TableCell]:
    """The cells of all tables, then those of the figures, in the paper's order."""
    in_paper = [task for task in TASKS if published(task).in_paper]
    order = list(MODELS)
    for task in sorted(in_paper, key=lambda task: published(task).table is None):
        pairs = published(task).networks()
        for model, depth in sorted(pairs, key=lambda pair: (pair[1], order.index(pair[0]))):
            yield TableCell(task, model, depth)


def _of_each_source(cell: TableCell) -> Iterator[TableCell]:
    for source in cell.sources:
        yield replace(cell, source=source)


def _shares_its_table(record: Published) -> bool:
    others = [task for task in TASKS if published(task).table == record.table]
    return record.table is not None and len(others) > 1
