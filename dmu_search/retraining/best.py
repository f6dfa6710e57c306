"""Keeping the best setting of a study, and of all studies of a task, model, depth and data."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmu_search.config.settings import RunSettings
from dmu_search.errors import ConfigError
from dmu_search.folders import OutputFolder, make_folder, not_writable
from dmu_search.names import TASKS
from dmu_search.retraining.comparison import Result, why_not_better
from dmu_search.retraining.exported import RunFile, read_run_file, write_run_file
from dmu_search.retraining.slots import paper_slot, slot_of

BEST_FILE = "best.yaml"


@dataclass(frozen=True)
class Kept:
    """Where the best of a study went.

    Attributes:
        own: the study's own file.
        slot: the file of the task, model, depth and data.
        replaced: whether ``slot`` now holds this study's.
        reason: why it does or does not, in words.
    """

    own: Path
    slot: Path
    replaced: bool
    reason: str

    @property
    def file(self) -> Path:
        """A file that holds this study's best: the slot, or the study's own."""
        return self.slot if self.replaced else self.own


def keep_best(
    study_folder: Path,
    output_dir: Path,
    *,
    run: RunSettings,
    source: Mapping[str, Any],
    pending: bool = False,
) -> Kept:
    """Write the study's own file, and that of the task, model, depth and data if this is better.

    Args:
        study_folder: gets the study's own file.
        output_dir: whose best settings it competes with, by ``why_not_better``.
        run: the best setting.
        source: its provenance, with the result.
        pending: whether fresh seeds are still to decide; until then it takes no other's place.

    Raises:
        StorageError: a folder cannot be written.
    """
    own, best = study_folder / BEST_FILE, OutputFolder(output_dir).best
    write_run_file(own, run, provenance=source)
    file = read_run_file(own)
    assert file.result is not None, "a study has a result"
    moved = _move_other_data(best, paper_slot(best, run.task, model=run.model, depth=run.depth))
    slot = slot_of(best, file, result=file.result)
    replaces, reason = _decide(slot, file, result=file.result, pending=pending)
    if replaces:
        write_run_file(slot, run, provenance=source)
    if moved is not None:
        reason += f"; what was found on other data is now {moved}"
    return Kept(own, slot, replaces, reason)


def _decide(slot: Path, new: RunFile, *, result: Result, pending: bool) -> tuple[bool, str]:
    """Whether ``new``, with its result, goes to ``slot``, and why."""
    if not slot.exists():
        return True, f"the first of its task, model and depth on {result.data}"
    found = _of_a_study(slot)
    if found is None:
        return False, "kept as it is: it was not written by a study; move it away first"
    old, old_result = found
    if old.provenance.get("study") == new.provenance["study"]:
        return True, "was this study's already"
    if pending:
        return False, "kept as it is until this study's finalists have ended"
    against = why_not_better(result, old_result, direction=TASKS[new.task].direction)
    if against is None:
        return True, _replaces(result, old_result)
    return False, f"kept as it is: it {against}"


def _replaces(new: Result, old: Result) -> str:
    """By what was compared."""
    if new.mean is not None and old.mean is not None:
        return f"replaces {old.mean:.4g} over fresh seeds"
    return f"replaces {old.objective:.4g}"


def _of_a_study(path: Path) -> tuple[RunFile, Result] | None:
    """A file and the result in it; None where no study wrote it."""
    try:
        file = read_run_file(path)
    except ConfigError:
        return None
    return None if file.result is None else (file, file.result)


def _move_other_data(best: Path, paper: Path) -> Path | None:
    """Earlier versions kept settings found on any data in the paper's slot: give them their own.

    Returns:
        Where the file went; None where there was nothing to move.
    """
    found = _of_a_study(paper) if paper.exists() else None
    if found is None:
        return None
    file, result = found
    own = slot_of(best, file, result=result)
    if own == paper:
        return None
    names = itertools.chain([own], (own.with_stem(f"{own.stem}-{n}") for n in itertools.count(2)))
    free = next(path for path in names if not path.exists())
    make_folder(free.parent)
    try:
        paper.rename(free)
    except OSError as fault:
        raise not_writable(free, str(fault.strerror)) from None
    return free
