"""A copy of the trials in an Optuna journal, for optuna-dashboard and Optuna's plots."""

import os
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from dmu_search.config.distributions import Distribution
from dmu_search.folders import set_aside
from dmu_search.names import Direction
from dmu_search.study.proposals import Space
from dmu_search.study.trials import TrialState

MIRROR_FILE = "optuna.journal"


class _NoLock:
    """Optuna's lock outlives a killed process and then blocks others; the study has its own."""

    def acquire(self) -> bool:
        """Nothing to wait for: there is one writer."""
        return True

    def release(self) -> None:
        """Nothing was taken."""


class JournalMirror:
    """Writes trials to an Optuna journal, once each; nothing is ever read back into the search.

    A trial has the same number there as everywhere else, so it is written when all before it are.
    A mirror that cannot be read is written anew; whatever goes wrong with it stops no study.

    Args:
        path: the journal file, created where it is missing.
        study_name: under which Optuna shows the study.
        direction: whether the objective is to be small or large.
        space: what is searched.

    Attributes:
        problem: why nothing more is written; None while all is well.
    """

    def __init__(
        self,
        path: Path,
        study_name: str,
        *,
        direction: Direction,
        space: Mapping[str, Distribution],
    ) -> None:
        self._space = Space(space)
        self._written = 0
        self.problem: str | None = None
        try:
            there = mirrored_trials(path, study_name)
            if there is None:
                set_aside(path)
            self._study = _open(path, study_name, direction=direction)
            self._written = there or 0
        except Exception as fault:  # Whatever Optuna makes of a damaged file or a full disk.
            self.problem = _sentence(path, fault)

    def update(self, trials: Mapping[int, TrialState]) -> None:
        """Add the trials that ended since the last call, up to the first that is open."""
        try:
            while self._is_next(trials) and self.problem is None:
                self._study.add_trial(self._space.frozen(trials[self._written]))
                self._written += 1
        except Exception as fault:
            self.problem = _sentence(Path(MIRROR_FILE), fault)

    def _is_next(self, trials: Mapping[int, TrialState]) -> bool:
        return self._written in trials and trials[self._written].status != "open"


def mirrored_trials(path: Path, study_name: str) -> int | None:
    """How many trials a mirror has, 0 where there is none; None where it cannot be read."""
    if not path.exists():
        return 0
    if not path.is_file():
        return None
    try:
        backend = JournalFileBackend(os.fspath(path), lock_obj=_NoLock())  # type: ignore[arg-type]
        found = JournalStorage(backend)
        names = [each.study_name for each in found.get_all_studies()]
        if study_name not in names:
            return 0 if not names else None
        return len(found.get_all_trials(found.get_study_id_from_name(study_name), deepcopy=False))
    except Exception:  # Whatever Optuna's reader makes of a damaged file.
        return None


def _sentence(path: Path, fault: Exception) -> str:
    reason = " ".join(str(fault).split())[:200] or type(fault).__name__
    return f"{path.name} cannot be kept up to date: {reason}"


def _open(path: Path, study_name: str, *, direction: Direction) -> optuna.Study:
    backend = JournalFileBackend(os.fspath(path), lock_obj=_NoLock())  # type: ignore[arg-type]
    return optuna.create_study(
        storage=JournalStorage(backend),
        study_name=study_name,
        direction=direction,
        load_if_exists=True,
    )
