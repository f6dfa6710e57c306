"""``doctor study=NAME``: a study's folder looked at, and mended."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from dmu_search.cli.invocation import command
from dmu_search.config.keys import did_you_mean
from dmu_search.errors import ConfigError
from dmu_search.exit_codes import DONE, SOME_FAILED
from dmu_search.folders import OutputFolder, claimed
from dmu_search.study.files import Study, studies_folder, study_of
from dmu_search.study.mending import (
    Found,
    check_checkpoints,
    check_journal,
    check_mirror,
    check_settings,
    read_intact,
)
from dmu_search.tracking.mending import check_records_of, trial_records


def mend_study(console: Console, output_dir: Path, *, name: str, dry_run: bool) -> int:
    """Look at a study and mend what can be mended; returns 1 where something cannot.

    Args:
        console: gets a line for each thing.
        output_dir: of the study.
        name: of the study.
        dry_run: whether to say only what would be done.

    Raises:
        ConfigError: there is no such study.
        StorageError: a process is at work on it, another version wrote it, or the disk is full.
    """
    folder = studies_folder(output_dir) / name
    if not folder.is_dir():
        known = [path.name for path in folder.parent.glob("*") if path.is_dir()]
        raise ConfigError(
            f"study={name}: no such study under {folder.parent}{did_you_mean(name, known)}; "
            "check the name and output_dir"
        )
    lost = mended = False
    with nullcontext() if dry_run else claimed(folder):
        for found in _look(folder, output_dir):
            if found.mend is not None and not dry_run:
                found.mend()
                mended = True
            lost |= found.is_lost
            _print(console, found, dry_run=dry_run)
    if mended and not lost:
        words = command("tune", f"resume={name}", f"output_dir={output_dir}")
        console.print(f"To resume the study:\n  {words}", highlight=False, soft_wrap=True)
    return SOME_FAILED if lost else DONE


def _look(folder: Path, output_dir: Path) -> Iterator[Found]:
    """What is found, one after the other: each is mended before the next is looked at."""
    intact = read_intact(folder)
    records = trial_records(OutputFolder(output_dir).records, folder.name)
    found = check_journal(folder, intact, trials_recorded=bool(records))
    yield found
    if found.is_lost or intact.tree is None:
        return
    yield check_settings(folder, intact.tree, began_ms=intact.began_ms)
    study: Study = study_of(intact.tree, folder, output_dir=output_dir)
    trials = intact.state.trials
    yield check_checkpoints(study, trials)
    yield check_mirror(study, trials)
    yield from check_records_of(study, trials)


def _print(console: Console, found: Found, *, dry_run: bool) -> None:
    if found.remedy is None:
        mark = "[green]ok    [/]"
    elif found.mend is None:
        mark = "[red]lost  [/]"
    else:
        mark = "[yellow]would mend[/]" if dry_run else "[yellow]mended[/]"
    remedy = "" if found.remedy is None else f": {found.remedy}"
    console.print(
        f"{mark} {found.what:<12} {escape(found.state + remedy)}", highlight=False, soft_wrap=True
    )
