"""A copy of the finished trials in an Optuna journal, for optuna-dashboard and Optuna's plots."""

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from dmu_search.names import Direction
from dmu_search.study.search_study import SearchStudy


class JournalMirror:
    """Writes finished trials to ``path``, once each; nothing is ever read back into the search.

    Args:
        path: the journal file, created where it is missing.
        study_name: under which Optuna shows the study.
        direction: whether the objective is to be small or large.
    """

    def __init__(self, path: Path, study_name: str, direction: Direction) -> None:
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=study_name,
            direction=direction,
            load_if_exists=True,
        )
        self._written = {t.user_attrs["trial_id"] for t in self._study.get_trials(deepcopy=False)}

    def update(self, study: SearchStudy) -> None:
        """Add the trials of ``study`` that finished since the last call."""
        for trial in study.trials:
            trial_id = trial.user_attrs["trial_id"]
            if trial.state.is_finished() and trial_id not in self._written:
                self._study.add_trial(trial)
                self._written.add(trial_id)
