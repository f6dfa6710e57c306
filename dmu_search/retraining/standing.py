"""How a study stands, read from its folder; nothing is locked and nothing is written."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dmu_search.folders import is_claimed
from dmu_search.retraining.finalists import Confirmation, Finalist, FinalRound
from dmu_search.study.files import Study
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.spending import Spending
from dmu_search.study.trials import StudyState, TrialState


@dataclass(frozen=True)
class Standing:
    """A study at one moment.

    Attributes:
        study: which.
        began_s: seconds since 1970, of its first event.
        trials: by number.
        best: the setting that it has come to: its finalists' winner, before that the best trial
            that used its whole budget; None before there is one.
        confirmation: what fresh seeds say; None while they have not.
        spent: epochs of the search so far.
        state: ``running``, ``finalists to go``, ``N trials to go`` or ``ended``.
    """

    study: Study
    began_s: float
    trials: Mapping[int, TrialState]
    best: TrialState | None
    confirmation: Confirmation | None
    spent: Spending
    state: str

    @classmethod
    def of(cls, study: Study) -> "Standing":
        """A study as its journal has it.

        Raises:
            StorageError: the journal is damaged.
        """
        events = study.events()
        state, search = StudyState.of(events), SearchStudy.of(study.settings, events=events)
        final = FinalRound(study)
        confirmation = final.confirmation
        return cls(
            study=study,
            began_s=events[0]["time_ms"] / 1000,
            trials=state.trials,
            best=search.best if confirmation is None else confirmation.winner.trial,
            confirmation=confirmation,
            spent=search.spending,
            state=_state(study, search, final=final),
        )

    @property
    def winner(self) -> Finalist | None:
        """The best setting with its fresh seeds; None while they have not all ended."""
        return None if self.confirmation is None else self.confirmation.winner

    @property
    def counts(self) -> Mapping[str, int]:
        """Status -> number of trials."""
        return Counter(trial.status for trial in self.trials.values())

    @property
    def began(self) -> str:
        """The minute in which it began, in local time."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.began_s))


def _state(study: Study, search: SearchStudy, *, final: FinalRound) -> str:
    if is_claimed(study.folder):
        return "running"
    if not search.over:
        ended = sum(trial.over for trial in search.trials.values())
        begun = len(search.trials) if search.enough else study.settings.search.trials
        return f"{begun - ended} trials to go"
    return "finalists to go" if final.due else "ended"
