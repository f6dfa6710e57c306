"""The command ``report``: the paper's tables and figures from the recorded runs."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as ScreenTable

from dmu_search.cli.cell_page import print_cell
from dmu_search.cli.screen import open_console, print_left_out, print_rows
from dmu_search.config.grammar import parse_overrides
from dmu_search.config.keys import SOURCES
from dmu_search.config.roots import default_of
from dmu_search.errors import ConfigError, DmuSearchError, StorageError
from dmu_search.exit_codes import DONE, SOME_FAILED
from dmu_search.folders import OutputFolder, check_there, check_writable
from dmu_search.paper.table_cells import find_cell
from dmu_search.report.build import FIGURES, TABLES, build_report
from dmu_search.report.cell_runs import runs_of_cell
from dmu_search.report.document import Section, Table
from dmu_search.report.files import MARKDOWN, PAGE, write_report
from dmu_search.results.compact import add_to_compact, check_compact, read_results
from dmu_search.results.searches import add_searches, read_searches
from dmu_search.results.trainings import RecordedRun
from dmu_search.study.files import all_studies
from dmu_search.study.settings import alternatives


def report(words: Sequence[str], *, dry_run: bool) -> int:
    """Show the tables and write all files, or list the runs of one cell.

    Returns:
        The exit code, 1 where records are damaged.

    Raises:
        ConfigError: bad input.
        StorageError: what is compact already is damaged, or the folder cannot be written.
    """
    given = parse_overrides("report", words)
    paths = _paths(given)
    if "cell" in given:
        return _list_cell(given, paths)
    tables, figures = _selected(given)
    sources = [each for each in SOURCES if each in _listed(given, "source", default=SOURCES)]
    console = open_console()
    check_writable(paths.folder)
    if paths.compact is not None:
        check_writable(paths.compact)
        check_compact(paths.compact)
        read_searches(paths.compact)
    damaged: list[StorageError] = []
    runs = read_results(paths.records, on_damage=damaged.append)
    print_left_out(console, damaged)
    done = SOME_FAILED if damaged else DONE
    ended = sum(run.ended for run in runs)
    print_rows(
        console,
        {
            "records": f"{paths.records}: {len(runs)} trainings, {ended} of them ended",
            "report": f"{paths.folder / MARKDOWN} and {PAGE}, tables/, figures/ beside it",
            **({} if paths.compact is None else {"compact": f"{paths.compact}"}),
        },
    )
    if dry_run:
        shown = [*(f"Table {each}" for each in tables), *(f"Figure {each}" for each in figures)]
        console.print(f"would make {', '.join(shown)}", highlight=False, soft_wrap=True)
        return done
    made = build_report(
        runs,
        tables=tables,
        figures=figures,
        sources=sources,
        output_dir=paths.output_dir,
        records=paths.elsewhere,
    )
    for section in made.sections:
        _print_section(console, section)
    write_report(made, paths.folder)
    if paths.compact is not None:
        added = _add_to(paths.compact, runs, output_dir=paths.output_dir)
        console.print(escape(added), highlight=False, soft_wrap=True)
    console.print(f"{paths.folder / PAGE}", highlight=False, soft_wrap=True)
    return done


def _list_cell(given: Mapping[str, object], paths: "_Paths") -> int:
    """List the runs of a cell; nothing is written."""
    cell = find_cell(str(given["cell"]))
    if others := sorted(set(given) - {"cell", "records", "output_dir"}):
        raise ConfigError(f"cell: lists the runs of one cell; leave out {', '.join(others)}")
    console = open_console()
    damaged: list[StorageError] = []
    runs = read_results(paths.records, on_damage=damaged.append)
    print_left_out(console, damaged)
    found = runs_of_cell(cell, runs, output_dir=paths.output_dir, records=paths.elsewhere)
    print_cell(console, cell, found=found)
    return SOME_FAILED if damaged else DONE


def _add_to(folder: Path, runs: Sequence[RecordedRun], *, output_dir: Path) -> str:
    """Add to the compact forms in ``folder``; returns what there is now, in a sentence."""
    studies, faults = all_studies(output_dir)
    unreadable: list[DmuSearchError] = [*faults]
    trainings = add_to_compact(runs, folder)
    trials = add_searches(studies, folder, on_damage=unreadable.append)
    searched = f" and {trials} trials of searches" if trials else ""
    left_out = "".join(f"; left out: {fault}" for fault in unreadable)
    return f"{folder} has {trainings} trainings{searched} now{left_out}"


@dataclass(frozen=True)
class _Paths:
    """What is read and written."""

    output_dir: Path
    elsewhere: Path | None
    folder: Path
    compact: Path | None

    @property
    def records(self) -> Path:
        return self.elsewhere or OutputFolder(self.output_dir).records


def _paths(given: Mapping[str, object]) -> _Paths:
    output_dir = Path(str(given.get("output_dir", default_of("output_dir"))))
    records, folder, compact = (given.get(name) for name in ("records", "report_dir", "compact"))
    if records is not None:
        check_there("records", Path(str(records)))
    return _Paths(
        output_dir,
        None if records is None else Path(str(records)),
        OutputFolder(output_dir).report if folder is None else Path(str(folder)),
        None if compact is None else Path(str(compact)),
    )


def _selected(given: Mapping[str, object]) -> tuple[Sequence[int], Sequence[int]]:
    """The asked-for tables and figures; all of both where none is named."""
    if "table" not in given and "figure" not in given:
        return TABLES, FIGURES
    tables, figures = _listed(given, "table", default=()), _listed(given, "figure", default=())
    return [n for n in TABLES if n in tables], [n for n in FIGURES if n in figures]


def _listed(
    given: Mapping[str, object], name: str, *, default: Sequence[object]
) -> Sequence[object]:
    return alternatives(given[name]) if name in given else default  # type: ignore[arg-type]


def _print_section(console: Console, section: Section) -> None:
    for table in (each.compact() for each in section.tables):
        console.rule(f"[bold]{table.title}", align="left")
        console.print(_screen_table(table))
        for note in table.notes:
            console.print(escape(note), style="dim", highlight=False)
    for verdict in section.verdicts:
        words = f" ({verdict.words})" if verdict.words else ""
        console.print(
            f'[bold]{verdict.outcome}[/]{words}, {verdict.settings}: "{escape(verdict.claim)}"',
            highlight=False,
        )
    for each in section.missing:
        console.print(f"[yellow]missing[/] {escape(each)}", highlight=False, soft_wrap=True)
    console.print()


def _screen_table(table: Table) -> ScreenTable:
    shown = ScreenTable(box=None, pad_edge=False, header_style="bold")
    lines = table.texts()
    for index, column in enumerate(table.columns):
        widest = max((len(line[index]) for line in lines), default=0)
        shown.add_column(
            _folded(column.heading, widest),
            justify="right" if table.is_number(index) else "left",
            overflow="fold",
        )
    for index, (row, line) in enumerate(zip(table.rows, lines, strict=True)):
        if table.begins_group(index):
            shown.add_section()
        style = "dim" if row.published else ""
        shown.add_row(*map(escape, line), style=style)
    return shown


def _folded(heading: str, width: int) -> str:
    """A heading in lines no longer than ``width`` or its longest word: the cells need the room."""
    width = max(width, *(len(word) for word in heading.split()))
    return "\n".join(textwrap.wrap(heading, width))
