"""Which settings of a search are trained over fresh seeds, and which of them wins.

A search over few seeds picks lucky settings. Its best ones, the paper's among them, are therefore
trained again over seeds that the search did not use, each over its whole budget, and the best mean
validation result wins.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dmu_search.names import TASKS, Direction, signed_loss
from dmu_search.study.settings import StudySettings
from dmu_search.study.trials import Finalists, TrialState

PAPER = "paper"
# One seed has no deviation.
_FEWEST_SEEDS = 2


@dataclass(frozen=True)
class Selection:
    """What is trained after a search.

    Attributes:
        finalists: None where there are none.
        note: why there are none, or fewer settings or seeds than were asked for; empty otherwise.
    """

    finalists: Finalists | None
    note: str = ""


@dataclass(frozen=True)
class FinalistRule:
    """How many finalists a study has, and over which seeds.

    Attributes:
        count: settings, at most.
        seeds: of each, at most.
        share: epochs of all finalists together, as a share of those of the search; an epoch of
            each replica counts.
        replicas: seeds of each trial of the search.
        first_seed: the first that the search did not use.
        max_epochs: of a whole training.
        direction: whether a small or a large result is good.
    """

    count: int
    seeds: int
    share: float
    replicas: int
    first_seed: int
    max_epochs: int
    direction: Direction

    @classmethod
    def of(cls, settings: StudySettings) -> "FinalistRule":
        """The rule of a study."""
        training = settings.example().training
        return cls(
            count=settings.search.finalists,
            seeds=settings.search.finalist_seeds,
            share=settings.search.finalist_share,
            replicas=training.replicas,
            first_seed=training.seed + training.replicas,
            max_epochs=training.max_epochs,
            direction=TASKS[settings.task].direction,
        )

    def select(self, trials: Mapping[int, TrialState]) -> Selection:
        """Choose among the trials that used their whole budget.

        Where their share of the epochs is too little there are fewer seeds, and where it is below
        two seeds there are fewer settings: at least the best one and the paper's.

        Args:
            trials: of a search that is over, by number.
        """
        ranked = _ranked(trials, self.direction)
        most = min(self.count, len(ranked))
        if most == 0:
            why = "no trial used its whole budget" if self.count else "search.finalists=0"
            return Selection(None, why)
        spent = sum(trial.epoch for trial in trials.values()) * self.replicas
        least = min(2, most)
        for count in range(most, least - 1, -1):
            seeds = min(self.seeds, int(self.share * spent) // (count * self.max_epochs))
            if seeds >= _FEWEST_SEEDS:
                finalists = Finalists(_with_paper(ranked, count), self.first_seed, seeds)
                whole = (count, seeds) == (most, self.seeds)
                return Selection(finalists, "" if whole else f"no more in {self._limit(spent)}")
        need = _FEWEST_SEEDS * least * self.max_epochs
        return Selection(None, f"they need {need} epochs, more than {self._limit(spent)}")

    def winner(self, finalists: Finalists) -> int | None:
        """The finalist with the best mean; None while one is missing, and where none has a mean."""
        if finalists.missing:
            return None
        losses = {
            number: signed_loss(mean, self.direction)
            for number in finalists.trials
            if math.isfinite(mean := mean_of(finalists.results[number]))
        }
        return min(losses, key=lambda number: losses[number], default=None)

    def _limit(self, spent: int) -> str:
        return f"search.finalist_share={self.share:g} of the {spent} that the search trained"


def mean_of(results: Sequence[float]) -> float:
    """The mean over seeds; nan where one never had a finite result."""
    return statistics.fmean(results)


def _ranked(trials: Mapping[int, TrialState], direction: Direction) -> list[TrialState]:
    """Trials that used their whole budget, the best first, equal settings once."""
    finished = [
        (signed_loss(trial.objective, direction), trial)
        for trial in trials.values()
        if trial.status == "finished" and trial.objective is not None
    ]
    unique: dict[tuple[object, ...], TrialState] = {}
    for _, trial in sorted(finished, key=lambda pair: (pair[0], not _is_papers(pair[1]))):
        unique.setdefault(tuple(sorted(trial.values.items())), trial)
    return list(unique.values())


def _with_paper(ranked: Sequence[TrialState], count: int) -> tuple[int, ...]:
    """The best so many; the paper's in the place of the last where it is not among them."""
    chosen = list(ranked[:count])
    paper = next(filter(_is_papers, ranked), None)
    if paper is not None and paper not in chosen and count > 1:
        chosen[-1] = paper
    return tuple(trial.number for trial in chosen)


def _is_papers(trial: TrialState) -> bool:
    return trial.source is not None and PAPER in trial.source.split(", ")
