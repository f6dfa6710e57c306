"""A cluster with a clock: workers that train what a search proposes, in simulated time."""

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dmu_search.config.keys import Value
from simulation.problems import Run, Training


@dataclass(frozen=True)
class Job:
    """A trial to train, or to train further: from the epoch after the last that it reported."""

    number: int
    values: Mapping[str, Value]


class Search(Protocol):
    """What decides: asked for jobs, told of every epoch."""

    def next(self) -> Job | None:
        """A job for an idle worker; None while there is none until something is reported."""

    def report(self, number: int, loss: float, *, epoch: int, finished: bool) -> bool:
        """Take the loss after an epoch in; returns whether the worker trains the trial further.

        Args:
            number: of the trial.
            loss: the best so far; nan where the training diverged, which ends it.
            epoch: from 1.
            finished: whether it was the last.
        """


@dataclass(frozen=True)
class Improvement:
    """The best value of all trials has become better.

    Attributes:
        epochs: trained so far by all workers together.
        time_s: simulated.
        value: the loss.
    """

    epochs: int
    time_s: float
    value: float


@dataclass(frozen=True)
class Outcome:
    """A whole search.

    Attributes:
        improvements: in order.
        trials: begun.
        epochs: trained in all.
        time_s: simulated, at its end.
    """

    improvements: tuple[Improvement, ...]
    trials: int
    epochs: int
    time_s: float


@dataclass
class _Trial:
    training: Training
    epoch: int = 0


class Cluster:
    """Carries out one search.

    Ties in time are resolved in the order in which the epochs began, idle workers by number, so
    that a search with a seed has one outcome.

    Args:
        search: decides.
        run: of the problem.
        max_epochs: of a whole training.
        workers: that train at the same time, a trial each.
    """

    def __init__(self, search: Search, run: Run, *, max_epochs: int, workers: int) -> None:
        self._search = search
        self._run = run
        self._max_epochs = max_epochs
        self._idle = workers
        self._trials: dict[int, _Trial] = {}
        # Time at which an epoch ends, order in which it began, trial.
        self._ends: list[tuple[float, int, int]] = []
        self._begun = 0
        self._exhausted = False

    def carry_out(self, budget: int) -> Outcome:
        """Train until so many epochs are trained, or nothing is left to train."""
        improvements: list[Improvement] = []
        best, now, epochs = math.inf, 0.0, 0
        self._employ(now)
        while self._ends and epochs < budget and not self._exhausted:
            now, _, number = heapq.heappop(self._ends)
            epochs += 1
            loss, goes_on = self._finish_epoch(number)
            if loss < best:
                best = loss
                improvements.append(Improvement(epochs, now, loss))
            if goes_on:
                self._begin_epoch(number, now)
            else:
                self._idle += 1
            self._employ(now)
        return Outcome(tuple(improvements), len(self._trials), epochs, now)

    def _finish_epoch(self, number: int) -> tuple[float, bool]:
        """The loss after one more epoch of a trial, and whether it is trained further."""
        trial = self._trials[number]
        trial.epoch += 1
        loss = trial.training.objectives[trial.epoch - 1]
        finished = trial.epoch == self._max_epochs
        goes_on = self._search.report(number, loss, epoch=trial.epoch, finished=finished)
        assert not (goes_on and (finished or math.isnan(loss))), "a trial outlives its training"
        return loss, goes_on

    def _employ(self, now: float) -> None:
        """Give idle workers what the search has for them."""
        while self._idle and not self._exhausted and (job := self._search.next()) is not None:
            if job.number not in self._trials:
                training = self._run.train(job.values)
                if training is None:
                    self._exhausted = True
                    return
                self._trials[job.number] = _Trial(training)
            self._idle -= 1
            self._begin_epoch(job.number, now)

    def _begin_epoch(self, number: int, now: float) -> None:
        self._begun += 1
        end = now + self._trials[number].training.seconds_per_epoch
        heapq.heappush(self._ends, (end, self._begun, number))
