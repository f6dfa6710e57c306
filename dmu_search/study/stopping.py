"""Which trials stop or pause before their whole budget: decided by the study, on comparable values.

Ray's own ASHA forgets its rungs on a restore (ray issue 30838), lets a trial that ended before a
rung count in none, and a diverged one as if it had never been there.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from dmu_search.names import Direction, signed_loss
from dmu_search.study.trials import TrialState

Trials = Mapping[int, TrialState]
Decision = Literal["continue", "paused", "stopped early"]


@dataclass(frozen=True)
class Rungs:
    """Epochs at which trials are compared.

    Attributes:
        epochs: ascending, all below the whole budget.
        reduction_factor: one trial in so many goes on from each.
        direction: whether the objective is to be small or large.
    """

    epochs: tuple[int, ...]
    reduction_factor: int
    direction: Direction

    @classmethod
    def of(
        cls, grace_epochs: int, max_epochs: int, *, reduction_factor: int, direction: Direction
    ) -> "Rungs":
        """The first after ``grace_epochs``, each next ``reduction_factor`` times as late."""
        epochs = []
        epoch = grace_epochs
        while epoch < max_epochs:
            epochs.append(epoch)
            epoch *= reduction_factor
        return cls(tuple(epochs), reduction_factor, direction)

    def just_reached(self, trial: TrialState) -> int | None:
        """The rung that its last epoch is the first at or past; None where it is no rung's."""
        before = max((epoch for epoch in trial.objectives if epoch < trial.epoch), default=0)
        return max((rung for rung in self.epochs if before < rung <= trial.epoch), default=None)

    def loss_at(self, trial: TrialState, rung: int) -> float | None:
        """What a trial counts with at a rung; None if it was never there."""
        value = value_at(trial, rung)
        if value is None:
            return None
        return signed_loss(value, self.direction) if math.isfinite(value) else math.inf


def value_at(trial: TrialState, epoch: int) -> float | None:
    """The objective at an epoch, or at the first after it; None if the trial was never there.

    One that ended before because its rule of success was met counts with its last value, a diverged
    one with nan.
    """
    if trial.status == "diverged":
        return math.nan
    if epoch in trial.objectives:
        return trial.objectives[epoch]
    there = min((known for known in trial.objectives if known >= epoch), default=None)
    if there is None and trial.status == "finished":
        there = trial.epoch
    return None if there is None else trial.objectives[there]


class Stopping(Protocol):
    """A rule on who goes on."""

    @property
    def rungs(self) -> Rungs:
        """At which it decides."""

    def decide(self, trials: Trials, number: int) -> Decision:
        """What becomes of trial ``number``, whose last result is in."""

    def pauses_at(self, trial: TrialState) -> tuple[int, ...]:
        """Epochs after which a trial may have to pause."""

    def due(self, trials: Trials) -> list[int]:
        """Paused trials of one rung, the best of which is to be carried on with now."""


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving: one trial in so many goes on from each rung.

    Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020), in the variant that
    stops trials and never pauses them. A trial that arrives at a rung is compared with all that
    were there before it, and goes on if it is among the best ``1 / reduction_factor`` of these.
    """

    rungs: Rungs

    def decide(self, trials: Trials, number: int) -> Decision:
        """Stop what is not among the best of its rung; warm starts are never stopped."""
        own = trials[number]
        rung = self.rungs.just_reached(own)
        if rung is None or own.source is not None:
            return "continue"
        others = [
            self.rungs.loss_at(trial, rung) for trial in trials.values() if trial.number != number
        ]
        known = sorted(loss for loss in others if loss is not None)
        loss = self.rungs.loss_at(own, rung)
        assert loss is not None, "it has arrived"
        stops = bool(known) and loss > quantile(known, 1 / self.rungs.reduction_factor)
        return "stopped early" if stops else "continue"

    def pauses_at(self, trial: TrialState) -> tuple[int, ...]:
        """None."""
        return ()

    def due(self, trials: Trials) -> list[int]:
        """None: nothing is paused."""
        return []


@dataclass(frozen=True)
class Promotion:
    """Asynchronous successive halving that pauses each trial at its rung and promotes the best.

    So nothing is trained on only because it came early (the same paper, algorithm 2). One trial in
    ``reduction_factor`` goes on from each rung at least; a sampler with a model may send more.
    """

    rungs: Rungs

    def decide(self, trials: Trials, number: int) -> Decision:
        """Pause at each rung, but for warm starts."""
        return "paused" if trials[number].epoch in self.pauses_at(trials[number]) else "continue"

    def pauses_at(self, trial: TrialState) -> tuple[int, ...]:
        """The rungs; none for a warm start."""
        return self.rungs.epochs if trial.source is None else ()

    def due(self, trials: Trials) -> list[int]:
        """Those of the highest rung from which fewer went on than should."""
        for rung in reversed(self.rungs.epochs):
            there = [t for t in trials.values() if self.rungs.loss_at(t, rung) is not None]
            left = [t for t in there if self._left_at(t, rung)]
            waiting = [trial.number for trial in left if trial.status == "paused"]
            if waiting and len(there) - len(left) < len(there) // self.rungs.reduction_factor:
                return waiting
        return []

    def _left_at(self, trial: TrialState, rung: int) -> bool:
        """Whether it did not go on from a rung that it reached."""
        if trial.status in ("paused", "stopped early"):
            return self.rungs.just_reached(trial) == rung
        return trial.status in ("diverged", "failed")


@dataclass(frozen=True)
class Never:
    """Every trial uses its whole budget."""

    rungs: Rungs

    def decide(self, trials: Trials, number: int) -> Decision:
        """Always continue."""
        return "continue"

    def pauses_at(self, trial: TrialState) -> tuple[int, ...]:
        """None."""
        return ()

    def due(self, trials: Trials) -> list[int]:
        """None: nothing is paused."""
        return []


SCHEDULERS: dict[str, Callable[[Rungs], Stopping]] = {
    "asha": Asha,
    "promotion": Promotion,
    "none": Never,
}


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that ``share`` of ascending numbers do not exceed, between two of them linear.

    Next to an infinite one it is infinite: what is finite is better than that.
    """
    position = (len(ordered) - 1) * share
    low, high = ordered[math.floor(position)], ordered[math.ceil(position)]
    if low == high or math.isinf(high):
        return high
    return low + (high - low) * (position - math.floor(position))
