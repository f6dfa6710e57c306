"""A copy of the trials in an Optuna journal, for optuna-dashboard and Optuna's plots."""

import os
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from dmu_search.config.distributions import Distribution
from dmu_search.engine.tasks import task_class
from dmu_search.folders import set_aside
from dmu_search.names import TASKS, Direction
from dmu_search.study.files import Study
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

    A trial has the same number there as everywhere else; one that is not over is running there.
    A mirror that cannot be read is written anew; whatever goes wrong with it stops no study.

    Args:
        path: the journal file, created where it is missing.
        study_name: under which Optuna shows the study.
        direction: whether the objective is to be small or large.
        space: what is searched.
        metric: name of the objective there; None: it has none.

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
        metric: str | None = None,
    ) -> None:
        self._space = Space(space)
        self._written = 0
        self._running: dict[int, int] = {}
        self.problem: str | None = None
        try:
            there = mirrored_trials(path, study_name)
            if there is None:
                set_aside(path)
            self._storage = _storage(path)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=study_name,
                direction=direction,
                load_if_exists=True,
            )
            if metric is not None and self._study.metric_names is None:
                self._study.set_metric_names([metric])
            written = self._study.get_trials(deepcopy=False)
            self._written = len(written)
            self._running = {
                trial.number: trial._trial_id for trial in written if not trial.state.is_finished()
            }
        except Exception as fault:  # Whatever Optuna makes of a damaged file or a full disk.
            self.problem = _sentence(path, fault)

    @classmethod
    def of(cls, study: Study) -> "JournalMirror":
        """The mirror of a study, in its folder."""
        settings = study.settings
        return cls(
            study.folder / MIRROR_FILE,
            study.name,
            direction=TASKS[settings.task].direction,
            space=settings.space,
            metric=f"val_{task_class(settings.task).objective}",
        )

    def update(self, trials: Mapping[int, TrialState]) -> None:
        """Add trials that are new, and end those that are over, since the last call."""
        if self.problem is not None:
            return
        try:
            for number in [number for number in self._running if trials[number].over]:
                self._end(self._running.pop(number), self._space.frozen(trials[number]))
            while self._written in trials:
                self._add(trials[self._written])
        except Exception as fault:
            self.problem = _sentence(Path(MIRROR_FILE), fault)

    def _add(self, trial: TrialState) -> None:
        self._study.add_trial(self._space.frozen(trial))
        if not trial.over:
            newest = self._study.get_trials(deepcopy=False)[-1]
            self._running[trial.number] = newest._trial_id
        self._written += 1

    def _end(self, trial_id: int, ended: FrozenTrial) -> None:
        for epoch, value in ended.intermediate_values.items():
            self._storage.set_trial_intermediate_value(trial_id, epoch, value)
        for name, value in ended.user_attrs.items():
            self._storage.set_trial_user_attr(trial_id, name, value)
        self._storage.set_trial_state_values(trial_id, ended.state, ended.values)


def mirrored_trials(path: Path, study_name: str) -> int | None:
    """How many trials ended there, 0 where there is no mirror; None where it cannot be read."""
    if not path.exists():
        return 0
    if not path.is_file():
        return None
    try:
        found = _storage(path)
        names = [each.study_name for each in found.get_all_studies()]
        if study_name not in names:
            return 0 if not names else None
        trials = found.get_all_trials(found.get_study_id_from_name(study_name), deepcopy=False)
        return sum(trial.state.is_finished() for trial in trials)
    except Exception:  # Whatever Optuna's reader makes of a damaged file.
        return None


def _sentence(path: Path, fault: Exception) -> str:
    reason = " ".join(str(fault).split())[:200] or type(fault).__name__
    return f"{path.name} cannot be kept up to date: {reason}"


def _storage(path: Path) -> JournalStorage:
    return JournalStorage(
        JournalFileBackend(os.fspath(path), lock_obj=_NoLock())  # type: ignore[arg-type]
    )
