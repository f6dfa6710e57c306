"""The checkpoints of a study: written by the trials' processes, counted by the study.

A process writes a file aside, waits until it is on disk and renames it; only then does the study
note it in its journal, and forget the oldest but one.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dmu_search.engine.plans.runs import save_state
from dmu_search.errors import StorageError
from dmu_search.study.trials import Checkpoint

if TYPE_CHECKING:
    # Optuna, which it needs, has no part in a trial's process.
    from dmu_search.study.search_study import SearchStudy


def checkpoint_name(number: int, epoch: int) -> str:
    """Its path below the folder of the study's checkpoints."""
    return f"trial-{number:04d}/epoch-{epoch:06d}.pt"


def write_checkpoint(
    folder: Path, number: int, *, epoch: int, state: dict[str, object]
) -> Checkpoint:
    """Write the state of a trial; when this returns, it is on disk.

    Args:
        folder: of the study's checkpoints.
        number: of the trial.
        epoch: that it is after.
        state: of its trainer.

    Raises:
        StorageError: it cannot be written.
    """
    name = checkpoint_name(number, epoch)
    save_state(folder / name, state)
    return Checkpoint(epoch, name)


class Checkpoints:
    """Keeps the checkpoints of a study within bounds.

    Args:
        folder: of them.
        study: that notes them.
        limit_mb: beyond, a trial keeps its newest only, and the paused ones that are the least
            likely to go on keep none: they would begin again.
    """

    def __init__(self, folder: Path, study: "SearchStudy", *, limit_mb: float) -> None:
        self._folder = folder
        self._study = study
        self._limit_bytes = limit_mb * 1e6
        # Of the noted files: to look at all folders for each result would cost more than the rest.
        self._sizes: dict[str, int] = {}
        self._holders: dict[int, None] = {}
        for trial in study.trials.values():
            for each in trial.checkpoints:
                self._note(trial.number, each)

    def keep(self, number: int, checkpoint: Checkpoint) -> None:
        """Note a new checkpoint of a trial, and remove those that are no longer needed."""
        old = list(self._study.keep_checkpoint(number, checkpoint))
        self._note(number, checkpoint)
        if self._size_bytes() > self._limit_bytes:
            old = [each.file for each in self._study.trials[number].checkpoints[:-1]]
        self._remove(number, old)
        if self._size_bytes() <= self._limit_bytes:
            return
        for paused in self._study.least_likely():
            if self._size_bytes() <= self._limit_bytes:
                break
            files = [each.file for each in self._study.trials[paused].checkpoints]
            self._remove(paused, files)

    def tidy(self) -> None:
        """After the end of a trial: the last states of the best and of paused ones are kept."""
        best = self._study.best
        for trial in [self._study.trials[number] for number in self._holders]:
            if trial.status == "open":
                continue
            is_best = best is not None and trial.number == best.number
            keeps_last = is_best or trial.status == "paused"
            useless = trial.checkpoints[:-1] if keeps_last else trial.checkpoints
            self._remove(trial.number, [each.file for each in useless])

    def check_free(self, min_free_mb: float) -> None:
        """Find out whether the disk has room for more.

        Raises:
            StorageError: it has less than ``min_free_mb``.
        """
        free_mb = shutil.disk_usage(self._folder.parent).free / 1e6
        if free_mb < min_free_mb:
            raise StorageError(
                f"{self._folder.parent}: {free_mb:.0f} MB of disk are free, less than "
                f"search.min_free_mb={min_free_mb:g}; free space or lower it, then resume"
            )

    def sweep(self) -> None:
        """Remove files that no trial knows, such as one half-written when its process died."""
        known = {c.file for trial in self._study.trials.values() for c in trial.checkpoints}
        for file in self._folder.glob("trial-*/*"):
            if file.relative_to(self._folder).as_posix() not in known:
                file.unlink(missing_ok=True)

    def _remove(self, number: int, files: Sequence[str]) -> None:
        if files:
            self._study.drop_checkpoints(number, files)
            for file in files:
                (self._folder / file).unlink(missing_ok=True)
                self._sizes.pop(file, None)
        if not self._study.trials[number].checkpoints:
            self._holders.pop(number, None)

    def _note(self, number: int, checkpoint: Checkpoint) -> None:
        # One that is gone is found out by whoever resumes from it.
        with suppress(FileNotFoundError):
            self._sizes[checkpoint.file] = (self._folder / checkpoint.file).stat().st_size
        self._holders[number] = None

    def _size_bytes(self) -> int:
        return sum(self._sizes.values())
