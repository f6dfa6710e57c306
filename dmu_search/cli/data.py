"""The command ``data``: data sets fetched, verified and shown."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from dmu_search.cli.screen import open_console
from dmu_search.config.grammar import parse_overrides
from dmu_search.config.study import alternatives
from dmu_search.data.files import (
    DATA_FILES,
    FILES_OF_TASKS,
    DataFile,
    DataStore,
    file_status,
    locate,
)
from dmu_search.engine.tasks import GENERATED
from dmu_search.errors import DataError


def data(words: Sequence[str], *, dry_run: bool) -> int:
    """Fetch what is missing, verify everything; returns 1 where a file cannot be had.

    Raises:
        ConfigError: bad input.
        DataError: the mirror folder does not exist.
    """
    given = parse_overrides("data", words)
    console = open_console()
    tasks = alternatives(given["task"]) if "task" in given else tuple(FILES_OF_TASKS)
    for task in tasks:
        if task in GENERATED:
            console.print(f"{task}: generated while training, needs no file", highlight=False)
    files = [DATA_FILES[name] for task in tasks for name in FILES_OF_TASKS.get(task, ())]
    if not files:
        return 0
    root, mirror = (given.get(f"data.{name}") for name in ("root", "mirror"))
    store = DataStore.from_settings(
        root=Path(str(root)) if root else None, mirror=Path(str(mirror)) if mirror else None
    )
    faults = []
    if not dry_run:
        for file in files:
            try:
                locate(file, store)
            except DataError as error:
                faults.append(str(error))
    console.print(status_table(files, store))
    for fault in faults:
        console.print(f"[red]error:[/] {fault}", highlight=False, soft_wrap=True)
    return int(bool(faults))


def status_table(files: Sequence[DataFile], store: DataStore) -> Table:
    """Each data file: state, place, and where it is or is from."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("file", "state", "place", "path"):
        table.add_column(heading, overflow="fold")
    for file in files:
        status = file_status(file, store)
        path = status.path or f"from {file.url}"
        table.add_row(file.name, status.state, status.place, str(path))
    return table
