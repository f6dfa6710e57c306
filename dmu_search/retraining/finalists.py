"""The finalists of a study: its best settings, trained over fresh seeds after the search."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dmu_search.config.settings import RunSettings
from dmu_search.data import Data
from dmu_search.engine.plans.runs import WEIGHTS_FILE
from dmu_search.engine.tasks import task_class
from dmu_search.engine.training.snapshots import read_snapshot
from dmu_search.names import Direction, signed_loss
from dmu_search.on_ray.resources import TrialShare
from dmu_search.results.estimate import Estimate
from dmu_search.results.statistics import mean_and_std, wary_mean
from dmu_search.results.trainings import RecordedRun, read_run
from dmu_search.retraining.on_workers import Progress, train_on_workers
from dmu_search.retraining.run import plan_run
from dmu_search.study.files import Study
from dmu_search.study.finalists import FinalistRule, Selection
from dmu_search.study.journal import Event, Journal
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.trials import Finalists, StudyState, TrialState
from dmu_search.tracking import Tracking
from dmu_search.tracking.names import short_study, short_values
from dmu_search.tracking.origin import origin_tags

FOLDER = "finalists"


@dataclass(frozen=True)
class Finalist:
    """A setting of the search and what fresh seeds say of it.

    Attributes:
        trial: that tried it.
        results: best validation result of each fresh seed; nan where it had none.
        estimate: mean and interval; None where a seed had no finite result.
    """

    trial: TrialState
    results: tuple[float, ...]
    estimate: Estimate | None

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None where a seed had no finite result."""
        return None if self.estimate is None else mean_and_std(self.results)[1]


def estimates_of(
    results: Mapping[int, Sequence[float]], direction: Direction
) -> dict[int, Estimate | None]:
    """Mean and interval of each finalist; None where a seed had no finite result.

    A seed of any of them may do as badly, beside its best one, as the one of all finalists that did
    worst beside theirs. Where no result is negative, no mean is.

    Args:
        results: best validation result of each seed, by finalist.
        direction: whether a small or a large one is good.
    """
    losses = {
        number: [signed_loss(value, direction) for value in values if math.isfinite(value)]
        for number, values in results.items()
    }
    reach = max((max(own) - min(own) for own in losses.values() if own), default=0.0)
    least = 0.0 if all(not v < 0 for own in results.values() for v in own) else -math.inf
    return {
        number: _estimate(losses[number], reach, direction=direction, least=least)
        if len(losses[number]) == len(values)
        else None
        for number, values in results.items()
    }


def _estimate(
    losses: Sequence[float], reach: float, *, direction: Direction, least: float
) -> Estimate | None:
    """In terms of results again, and no less than can be."""
    found = wary_mean(losses, reach)
    if found is None:
        return None
    ends = [signed_loss(end, direction) for end in (found.low, found.high)]
    return Estimate(signed_loss(found.value, direction), max(least, min(ends)), max(ends))


@dataclass(frozen=True)
class Confirmation:
    """The finalists of a study once all are trained, and the one that won.

    Attributes:
        finalists: the best of the search first.
        winner: the one with the best mean.
        seeds: of all of them.
        direction: whether a small or a large result is good.
    """

    finalists: tuple[Finalist, ...]
    winner: Finalist
    seeds: range
    direction: Direction

    @property
    def shrank_by(self) -> float | None:
        """How much worse the best setting of the search is over fresh seeds than in the search."""
        first = self.finalists[0]
        if first.estimate is None or first.trial.objective is None:
            return None
        now, then = first.estimate.value, first.trial.objective
        return signed_loss(now, self.direction) - signed_loss(then, self.direction)

    def metrics(self) -> dict[str, float]:
        """The winner's numbers, and by how much the search's best shrank, for the study's run."""
        estimate, std = self.winner.estimate, self.winner.std
        assert estimate is not None, "a winner has a mean"
        assert std is not None, "a finalist has two seeds or more"
        numbers = {
            "fresh_seeds_mean": estimate.value,
            "fresh_seeds_std": std,
            "fresh_seeds_low": estimate.low,
            "fresh_seeds_high": estimate.high,
        }
        shrank_by = self.shrank_by
        return numbers if shrank_by is None else {**numbers, "search_best_shrank_by": shrank_by}

    def provenance(self) -> dict[str, Any]:
        """What an exported file says of it."""
        estimate = self.winner.estimate
        assert estimate is not None, "a winner has a mean"
        return {
            "state": "confirmed",
            "seeds": len(self.seeds),
            "first_seed": self.seeds.start,
            "mean": estimate.value,
            "std": self.winner.std,
            "interval_95": [estimate.low, estimate.high],
            "search_best_shrank_by": self.shrank_by,
            "compared": [_in_file(each) for each in self.finalists],
        }


def _in_file(finalist: Finalist) -> dict[str, Any]:
    estimate = finalist.estimate
    return {
        "trial": finalist.trial.number,
        "warm_start": finalist.trial.source,
        "objective": finalist.trial.objective,
        "mean": None if estimate is None else estimate.value,
        "std": finalist.std,
    }


class FinalRound:
    """Chooses, trains and decides; each choice and result is in the study's journal first.

    Every finalist trains to its end. Its best result so far only improves, and by how much is not
    known before, so no finalist can be called beaten earlier.

    Args:
        study: whose search is over, or was stopped. The caller holds its lock.

    Raises:
        StorageError: the journal is damaged.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._journal = Journal(study.journal)
        events = study.events()
        self._state = StudyState.of(events)
        self._is_over = SearchStudy.of(study.settings, events=events).over
        self._rule = FinalistRule.of(study.settings)
        self._selection = self._select()

    @property
    def selection(self) -> Selection:
        """The finalists, or why there are none."""
        chosen = self._state.finalists
        return self._selection if chosen is None else replace(self._selection, finalists=chosen)

    @property
    def trials(self) -> Mapping[int, TrialState]:
        """Of the search, by number."""
        return self._state.trials

    @property
    def due(self) -> bool:
        """Whether finalists are still to be trained, or the winner to be decided."""
        finalists = self.selection.finalists
        if finalists is None or self._rule.count == 0:
            return False
        return bool(finalists.missing) or finalists.winner != self._rule.winner(finalists)

    @property
    def confirmation(self) -> Confirmation | None:
        """What they gave; None while they are not trained, and where none has a mean."""
        finalists = self._state.finalists
        winner = None if finalists is None else finalists.winner
        if finalists is None or winner is None:
            return None
        estimates = estimates_of(finalists.results, self._rule.direction)
        found = {
            number: Finalist(
                self._state.trials[number], finalists.results[number], estimates[number]
            )
            for number in finalists.trials
        }
        seeds = range(finalists.first_seed, finalists.first_seed + finalists.seeds)
        return Confirmation(tuple(found.values()), found[winner], seeds, self._rule.direction)

    def provenance(self) -> dict[str, Any]:
        """What an exported file says of the finalists; seeds that they will use are taken too."""
        confirmation = self.confirmation
        if confirmation is not None:
            return confirmation.provenance()
        finalists = self.selection.finalists
        if finalists is not None:
            return {"state": "unconfirmed", "why": self.why_unconfirmed, "seeds": finalists.seeds}
        seeds = 0 if self._is_over else self._rule.seeds * bool(self._rule.count)
        return {"state": "unconfirmed", "why": self.why_unconfirmed, "seeds": seeds}

    @property
    def why_unconfirmed(self) -> str:
        """Why there is no confirmation, in words."""
        finalists = self.selection.finalists
        if finalists is None:
            return self.selection.note
        if finalists.missing:
            return "the finalists have not ended"
        return "of every finalist a seed had no finite result"

    def train(
        self,
        data: Data,
        *,
        share: TrialShare,
        tracking: Tracking,
        stopped: Callable[[], bool],
    ) -> Iterator[Progress]:
        """Train the finalists that are due side by side, all seeds of one as one program.

        Args:
            data: of the study.
            share: what a trial of the search got.
            tracking: where runs go; the study's own run is open.
            stopped: asked every few seconds; if true, those that go on are ended, to be resumed.

        Yields:
            What happened, every few seconds.

        Raises:
            ClusterError: Ray is lost.
            StorageError: the journal cannot be written, or a record is damaged.
        """
        try:
            finalists = self._begin()
            names = {self._name(number): number for number in finalists.trials}
            records = tracking.recorder.folder
            # A kill may have come between the end of a training and its place in the journal.
            for name, number in names.items():
                self._take_in(number, records / f"{name}.jsonl", data=data)
            for progress in self._train_missing(
                data, share=share, tracking=tracking, stopped=stopped
            ):
                for name, _ in progress.ended:
                    self._take_in(names[name], records / f"{name}.jsonl", data=data)
                yield progress
            self._decide()
        finally:
            self._journal.close()

    def weights(self) -> Mapping[str, torch.Tensor] | None:
        """The winner's weights at the best epoch of each seed, ``(replica, ..)``; None if lost."""
        confirmation = self.confirmation
        if confirmation is None:
            return None
        return read_snapshot(
            self._folder / self._name(confirmation.winner.trial.number) / WEIGHTS_FILE
        )

    def trained(self) -> Iterator[tuple[str, TrialState, Mapping[str, torch.Tensor]]]:
        """Run, trial and weights, as in ``weights``, of each finalist whose weights are there."""
        for number in self._state.finalists.results if self._state.finalists else ():
            name = self._name(number)
            weights = read_snapshot(self._folder / name / WEIGHTS_FILE)
            if weights is not None:
                yield name, self._state.trials[number], weights

    @property
    def _folder(self) -> Path:
        return self._study.folder / FOLDER

    @property
    def _chosen(self) -> Finalists:
        finalists = self.selection.finalists
        assert finalists is not None, "there are finalists"
        return finalists

    def _select(self) -> Selection:
        if not self._is_over:
            return Selection(None, "the search has not ended")
        return self._rule.select(self._state.trials)

    def _begin(self) -> Finalists:
        """The finalists, journaled with their seeds."""
        finalists = self._chosen
        if self._state.finalists is None:
            self._keep(
                {
                    "event": "finalists",
                    "trials": list(finalists.trials),
                    "first_seed": finalists.first_seed,
                    "seeds": finalists.seeds,
                }
            )
        return finalists

    def _train_missing(
        self,
        data: Data,
        *,
        share: TrialShare,
        tracking: Tracking,
        stopped: Callable[[], bool],
    ) -> Iterator[Progress]:
        trainings = []
        origin = origin_tags(gpus=share.gpus)
        study = short_study(self._study.name, self._study.settings.task)
        for number in self._chosen.missing:
            run = self._run(number)
            tags = {"study": self._study.name, "finalist": str(number), **origin}
            name = self._name(number)
            planned = plan_run(name, run, data=data, tags=tags, study=self._study.name)
            values = short_values(self._state.trials[number].values)
            # As its trial is called.
            start = replace(planned.start, name=f"{study} {number:03d} finalist {values}".rstrip())
            trainings.append((replace(planned, start=start), run))
        if not trainings:
            return
        yield from train_on_workers(
            trainings,
            {(run.task, run.data): data for _, run in trainings},
            share=_wider(share, self._chosen.seeds / self._rule.replicas),
            tracking=tracking,
            folders=self._folder,
            stopped=stopped,
        )

    def _take_in(self, number: int, record: Path, *, data: Data) -> None:
        """Journal the results of a finalist whose training has ended."""
        if number not in self._chosen.missing:
            return
        recorded = read_run(record)
        if recorded is None or not recorded.ended or not self._is_of(recorded, number, data=data):
            return
        self._keep({"event": "finalist", "trial": number, "values": self._values(recorded)})

    def _is_of(self, recorded: RecordedRun, number: int, *, data: Data) -> bool:
        """Whether a record is of this finalist; a journal cut back has other trials since."""
        same_run = recorded.run.values() == self._run(number).values()
        return same_run and recorded.data_sha256 == data.sha256

    def _values(self, recorded: RecordedRun) -> list[float | None]:
        """The best validation result of each seed, as JSON has it."""
        name = f"val_{task_class(self._study.settings.task).objective}"
        values = [replica.metrics.get(name, math.nan) for replica in recorded.replicas]
        return [value if math.isfinite(value) else None for value in values]

    def _decide(self) -> None:
        winner = self._rule.winner(self._chosen)
        if winner is not None and self._chosen.winner is None:
            self._keep({"event": "winner", "trial": winner})

    def _run(self, number: int) -> RunSettings:
        """A trial's setting with the fresh seeds, as replicas of one program."""
        finalists = self.selection.finalists
        assert finalists is not None
        run = self._study.settings.run(self._state.trials[number].values)
        training = replace(run.training, seed=finalists.first_seed, replicas=finalists.seeds)
        return replace(run, training=training)

    def _name(self, number: int) -> str:
        return f"{self._study.name}.finalist-{number:04d}-{self._chosen.seeds}"

    def _keep(self, event: Event) -> None:
        self._journal.append(event)
        self._state.apply(event)


def _wider(share: TrialShare, times: float) -> TrialShare:
    """The share of so many times the replicas: memory grows with them, up to a whole GPU."""
    gpus = share.gpus if share.gpus >= 1 else min(1.0, share.gpus * max(1.0, times))
    return replace(share, gpus=gpus)
