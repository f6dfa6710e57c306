"""Which trials are stopped before their whole budget: decided by the study, on comparable values.

Ray's own ASHA forgets its rungs on a restore (ray issue 30838), lets a trial that ended before a
rung count in none, and a diverged one as if it had never been there.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dmu_search.names import Direction, signed_loss
from dmu_search.study.trials import TrialState

Trials = Mapping[int, TrialState]


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving: one trial in so many goes on from each rung.

    Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020), in the variant that
    stops trials and never pauses them. A trial that arrives at a rung is compared with all that
    were there before it, and goes on if it is among the best ``1 / reduction_factor`` of these.

    Attributes:
        rungs: epochs at which trials are compared, ascending.
        reduction_factor: of a rung to the next.
        direction: whether the objective is to be small or large.
    """

    rungs: tuple[int, ...]
    reduction_factor: int
    direction: Direction

    def stops(self, trials: Trials, number: int) -> bool:
        """Whether trial ``number``, whose last result is in, ends here."""
        own = trials[number]
        reached = [rung for rung in self.rungs if self._arrived_at(own, rung)]
        if not reached or own.source is not None:
            return False
        rung = reached[-1]
        others = [self.loss_at(trial, rung) for trial in trials.values() if trial.number != number]
        known = sorted(loss for loss in others if loss is not None)
        loss = self.loss_at(own, rung)
        assert loss is not None, "it has arrived"
        return bool(known) and loss > quantile(known, 1 / self.reduction_factor)

    def loss_at(self, trial: TrialState, rung: int) -> float | None:
        """What a trial counts with at a rung; None if it was never there.

        One that ended before the rung because its rule of success was met counts with its last
        value, a diverged one as infinitely bad.
        """
        if trial.status == "diverged":
            return math.inf
        there = min((epoch for epoch in trial.objectives if epoch >= rung), default=None)
        if there is None and trial.status == "finished":
            there = trial.epoch
        return None if there is None else signed_loss(trial.objectives[there], self.direction)

    def _arrived_at(self, trial: TrialState, rung: int) -> bool:
        """Whether its last epoch is the first at or past the rung."""
        before = max((epoch for epoch in trial.objectives if epoch < trial.epoch), default=0)
        return before < rung <= trial.epoch


@dataclass(frozen=True)
class Never:
    """Every trial uses its whole budget."""

    def stops(self, trials: Trials, number: int) -> bool:
        """Never."""
        return False


Stopping = Asha | Never


def asha(
    *, grace_epochs: int, reduction_factor: int, max_epochs: int, direction: Direction
) -> Stopping:
    """ASHA with a first rung after ``grace_epochs``, and more below ``max_epochs``."""
    rungs = []
    epoch = grace_epochs
    while epoch < max_epochs:
        rungs.append(epoch)
        epoch *= reduction_factor
    return Asha(tuple(rungs), reduction_factor, direction)


def never(
    *, grace_epochs: int, reduction_factor: int, max_epochs: int, direction: Direction
) -> Stopping:
    """No stopping; the rungs' numbers are not used."""
    return Never()


SCHEDULERS: dict[str, Callable[..., Stopping]] = {"asha": asha, "none": never}


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that ``share`` of ascending numbers do not exceed, between two of them linear.

    Next to an infinite one it is infinite: what is finite is better than that.
    """
    position = (len(ordered) - 1) * share
    low, high = ordered[math.floor(position)], ordered[math.ceil(position)]
    if low == high or math.isinf(high):
        return high
    return low + (high - low) * (position - math.floor(position))
