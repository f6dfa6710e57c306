"""The command ``studies``: what there is, one looked at, several compared, one deleted."""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from dmu_search.cli.screen import open_console, print_left_out, print_warning
from dmu_search.cli.study_table import print_comparison, print_list, print_standing
from dmu_search.config.grammar import parse_overrides
from dmu_search.config.keys import did_you_mean
from dmu_search.config.roots import default_of
from dmu_search.errors import ConfigError, StorageError
from dmu_search.exit_codes import DONE, SOME_FAILED
from dmu_search.folders import claimed, not_writable
from dmu_search.retraining.standing import Standing
from dmu_search.study.files import Study, all_studies, studies_folder
from dmu_search.tracking.deletion import delete_records, delete_runs, records_of


def studies(words: Sequence[str], *, dry_run: bool) -> int:
    """List, show, compare or delete studies; returns the exit code.

    Raises:
        ConfigError: no such verb, or no such study.
        StorageError: a study to look at is damaged, or one to delete is in use.
        TrackingError: the runs to delete cannot be reached.
    """
    plain = [word for word in words if "=" not in word]
    given = parse_overrides("studies", [word for word in words if "=" in word])
    verb, names = (plain[0], plain[1:]) if plain else ("list", [])
    if verb not in (verbs := (*_VERBS, "delete")):
        raise ConfigError(
            f"studies {verb}: there is no such verb{did_you_mean(verb, verbs)}; write studies, "
            "studies show NAME, studies compare NAME NAME or studies delete NAME"
        )
    output_dir = Path(str(given.get("output_dir", default_of("output_dir"))))
    console = open_console()
    found, damaged = all_studies(output_dir)
    print_left_out(console, [StorageError(*fault.faults) for fault in damaged])
    if verb == "delete":
        sure = bool(given.get("yes", False))
        return _delete(
            console, _named(found, names, output_dir=output_dir), sure=sure, dry_run=dry_run
        )
    if verb != "list" and not names:
        raise ConfigError(f"studies {verb} takes names of studies; `studies` lists them")
    chosen = _named(found, names, output_dir=output_dir) if names else found
    return _VERBS[verb](console, chosen)


def _named(found: Sequence[Study], names: Sequence[str], *, output_dir: Path) -> list[Study]:
    """The studies of these names; ``latest`` is the one begun last."""
    by_name = {study.name: study for study in found}
    if found:
        by_name["latest"] = found[-1]
    faults = [
        f"{name}: no such study under {studies_folder(output_dir)}{did_you_mean(name, by_name)}; "
        "`studies` lists them"
        for name in names
        if name not in by_name
    ]
    if faults or not names:
        raise ConfigError(*(faults or ["studies delete takes the name of a study"]))
    return [by_name[name] for name in dict.fromkeys(names)]


def _list(console: Console, chosen: Sequence[Study]) -> int:
    if not chosen:
        console.print("There are no studies yet; `python -m dmu_search tune` begins one.")
        return DONE
    standings, damaged = [], []
    for study in chosen:
        try:
            standings.append(Standing.of(study))
        except StorageError as fault:
            damaged.append(fault)
    print_list(console, standings)
    print_left_out(console, damaged)
    return DONE


def _show(console: Console, chosen: Sequence[Study]) -> int:
    for study in chosen:
        print_standing(console, Standing.of(study))
    return DONE


def _compare(console: Console, chosen: Sequence[Study]) -> int:
    first = chosen[0]
    for other in chosen[1:]:
        if other.settings.measured_on != first.settings.measured_on:
            raise ConfigError(
                f"studies compare: {first.name} and {other.name} are of different tasks or data, "
                "so their results do not compare; name studies of one"
            )
    print_comparison(console, [Standing.of(study) for study in chosen])
    return DONE


def _delete(console: Console, chosen: Sequence[Study], *, sure: bool, dry_run: bool) -> int:
    for study in chosen:
        console.print(
            f"{study.name}: {len(records_of(study))} records, their runs in MLflow, and "
            f"{study.folder}",
            highlight=False,
            soft_wrap=True,
        )
    if dry_run:
        return DONE
    if not sure:
        if not sys.stdin.isatty():
            raise ConfigError("studies delete asks before it deletes; add yes=true to answer it")
        answer = console.input("Delete all of this for good? Type yes: ")
        if answer.strip().lower() not in ("y", "yes"):
            console.print("Nothing is deleted.")
            return SOME_FAILED
    for study in chosen:
        _delete_one(console, study)
    return DONE


def _delete_one(console: Console, study: Study) -> None:
    """Runs, then records, then the folder: cut off, the study is still there to be deleted."""
    with claimed(study.folder):
        runs, records = delete_runs(study), delete_records(study)
        try:
            shutil.rmtree(study.folder)
        except OSError as fault:
            raise not_writable(study.folder, str(fault.strerror)) from None
    console.print(f"deleted {study.name}: {runs} runs, {records} records, its folder")
    print_warning(console, "what it exported to best/ stays there")


_VERBS: dict[str, Callable[[Console, Sequence[Study]], int]] = {
    "list": _list,
    "show": _show,
    "compare": _compare,
}
