"""The command ``data``: data sets fetched, verified and shown."""

from collections.abc import Mapping, Sequence
from typing import cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dmu_search.cli.screen import open_console, print_rows
from dmu_search.config.grammar import parse_overrides
from dmu_search.config.keys import Value
from dmu_search.config.settings import build
from dmu_search.data.corpus import Corpus
from dmu_search.data.files import DataFile, DataStore, MissingFileError, file_status, locate
from dmu_search.data.loading import files_of, load_data
from dmu_search.data.settings import DataSettings
from dmu_search.engine.tasks.polymusic import SPLITS
from dmu_search.errors import DataError
from dmu_search.exit_codes import DONE, SOME_FAILED
from dmu_search.names import TASKS
from dmu_search.paper.data import default_data
from dmu_search.study.settings import alternatives


def data(words: Sequence[str], *, dry_run: bool) -> int:
    """Fetch what is missing, verify everything; returns 1 where a file cannot be had.

    What nobody asked for by name may be missing: it is named, with the way around it.
    With ``data.corpus`` it reads that corpus instead, and shows what is in it.

    Raises:
        ConfigError: bad input.
        DataError: the mirror folder does not exist, or the corpus cannot be read.
    """
    given = parse_overrides("data", words)
    console = open_console()
    on_files = tuple(task for task, entry in TASKS.items() if entry.files)
    tasks = alternatives(given["task"]) if "task" in given else on_files
    for task in tasks:
        if task not in on_files:
            made = "generated while training, " if TASKS[task].data == "generated" else ""
            console.print(f"{task}: {made}needs no file", highlight=False)
    files = [file for task in tasks for file in files_of(task)]
    if not files:
        return DONE
    own = cast(Mapping[str, Value], given)
    music = [task for task in tasks if TASKS[task].data == "corpus"]
    if "data.corpus" in given and music and not dry_run:
        values = {**default_data(music[0]), **own}
        corpus = load_data(music[0], build(DataSettings, "data", values=values))
        assert isinstance(corpus, Corpus), f"{music[0]} has a corpus"
        print_corpus(console, corpus)
        return DONE
    store = DataStore.from_settings(build(DataSettings, "data", values=own))
    faults: list[str] = []
    missing: list[str] = []
    if not dry_run:
        for file in files:
            try:
                # A file that nobody serves is for those who have it.
                if file.served or file_status(file, store).state != "missing":
                    locate(file, store)
            except MissingFileError as error:
                (faults if "task" in given else missing).append(str(error))
            except DataError as error:
                faults.append(str(error))
    console.print(status_table(files, store))
    for citation, names in citations(files).items():
        console.print(
            f"{', '.join(names)}: {escape(citation)}", style="dim", highlight=False, soft_wrap=True
        )
    for absent in missing:
        console.print(f"[yellow]note:[/] {absent}", highlight=False, soft_wrap=True)
    for fault in faults:
        console.print(f"[red]error:[/] {fault}", highlight=False, soft_wrap=True)
    return SOME_FAILED if faults else DONE


def print_corpus(console: Console, corpus: Corpus) -> None:
    """What a corpus holds, and every MIDI file that gave no tune."""
    rows = {"corpus": corpus.name, "from": str(corpus.source), "sha256": corpus.sha256}
    if corpus.midi is not None:
        rows["read as"] = corpus.midi.describe()
        rows["left out"] = f"{corpus.midi.out_of_range:,} notes outside MIDI notes 21 to 108"
    print_rows(console, rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("split")
    for heading in ("tunes", "steps", "mean length", "notes per step"):
        table.add_column(heading, justify="right")
    splits = {split: getattr(corpus.rolls, split) for split in SPLITS}
    for name, rolls in {**splits, "all": sum(splits.values(), ())}.items():
        steps, notes = sum(map(len, rolls)), sum(int(roll.sum()) for roll in rolls)
        table.add_row(
            name,
            f"{len(rolls):,}",
            f"{steps:,}",
            f"{steps / len(rolls):.1f}",
            f"{notes / steps:.2f}",
        )
    console.print(table)
    lines = [] if corpus.warning is None else [f"[bold yellow]warning:[/] {escape(corpus.warning)}"]
    if corpus.midi is not None:
        skipped = [f"{file.name}: {file.reason}" for file in corpus.midi.skipped]
        lines = [f"[yellow]skipped[/]    {escape(one)}" for one in skipped]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def citations(files: Sequence[DataFile]) -> dict[str, list[str]]:
    """Where the files come from and under which terms, each said once: citation -> names."""
    names: dict[str, list[str]] = {}
    for file in files:
        names.setdefault(file.citation, []).append(file.name)
    return names


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
