"""``reproduce cell=..``: recorded runs of a cell trained again, and whether they come out equal."""

from collections.abc import Mapping
from dataclasses import replace

from rich.console import Console

from dmu_search.cli import reproduce_pages
from dmu_search.cli.screen import open_console, print_left_out
from dmu_search.cli.trainings import Means, Work, check_places, fixed_values, load_all, train
from dmu_search.config.grammar import Alternatives, Setting
from dmu_search.errors import ConfigError, StorageError
from dmu_search.exit_codes import DONE, INTERRUPTED, SOME_FAILED
from dmu_search.folders import OutputFolder, check_writable
from dmu_search.paper.table_cells import TableCell, find_cell
from dmu_search.report.cell_runs import CellRuns, runs_of_cell
from dmu_search.results.compact import read_results
from dmu_search.results.selection import Sample
from dmu_search.results.trainings import RecordedRun, read_runs
from dmu_search.retraining.needs import needs_of
from dmu_search.retraining.repeated_runs import (
    check_data,
    check_given,
    repeated_settings,
    repetitions,
)


def repeat(given: Mapping[str, Setting | Alternatives], *, dry_run: bool) -> int:
    """Train runs of a cell again; returns the exit code, 1 where one comes out otherwise.

    Raises:
        DmuSearchError: bad input, found before anything is written.
    """
    cell = find_cell(str(given["cell"]))
    check_given(given)
    check_places(given, [cell.task], models=[cell.model])
    values = fixed_values(given)
    means = Means.of(values)
    console = open_console()
    recorded = _recorded(console, means)
    found, sample = _with_runs(cell, recorded, means=means)
    epochs = values.get("training.max_epochs")
    settings = repeated_settings(
        tuple(name.rpartition("/")[2] for name in found.names),
        sample,
        runs=int(str(values.get("runs", 1))),
        max_epochs=None if epochs is None else int(str(epochs)),
        places={name: values[name] for name in ("data.root", "data.mirror") if name in given},
    )
    again = OutputFolder(means.output_dir).repeated
    check_writable(again.root)
    data, _ = load_all(settings)
    reproduce_pages.print_data(console, data, absent={})
    check_data(sample, settings, data=data)
    console.print(f"{', '.join(found.names)}: {cell.title}, {found.settings}", highlight=False)
    work = Work(console, needs_of(settings, read_runs(again.records), data=data), recorded, data)
    if dry_run:
        work.show(means.resources)
        return DONE
    if train(work, replace(means, output_dir=again.root)) == INTERRUPTED:
        return INTERRUPTED
    verdicts = repetitions(sample, settings, new=read_runs(again.records))
    reproduce_pages.print_repetitions(console, verdicts)
    return DONE if all(each.agrees for each in verdicts) else SOME_FAILED


def _recorded(console: Console, means: Means) -> tuple[RecordedRun, ...]:
    """The runs of ``records``, as ``report`` reads them; damaged ones are named and left out."""
    damaged: list[StorageError] = []
    folder = means.records or OutputFolder(means.output_dir).records
    runs = read_results(folder, on_damage=damaged.append)
    print_left_out(console, damaged)
    return runs


def _with_runs(
    cell: TableCell, recorded: tuple[RecordedRun, ...], *, means: Means
) -> tuple[CellRuns, Sample]:
    """The first setting of a cell that has recorded runs.

    Raises:
        ConfigError: none has.
    """
    found = runs_of_cell(cell, recorded, output_dir=means.output_dir, records=means.records)
    for each in found:
        if each.names and each.sample is not None:
            return each, each.sample
    folder = means.records or OutputFolder(means.output_dir).records
    raise ConfigError(
        f"cell: {cell.name} has no runs in {folder}; name another folder, as records=docs/results, "
        f"or another cell; `python -m dmu_search report cell={cell.name}` says what would train it"
    )
