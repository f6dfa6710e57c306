"""A study: the one owner of what is tried, what is stopped, and what is tried next.

It knows no Ray and no clock: whatever carries trials out asks it for assignments and tells it
results. Each decision is in the journal before it takes effect.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dmu_search.config.distributions import Distribution
from dmu_search.config.keys import Value
from dmu_search.names import TASKS, Direction
from dmu_search.study.journal import Event
from dmu_search.study.proposals import Proposals
from dmu_search.study.settings import StudySettings, WarmStart
from dmu_search.study.stopping import SCHEDULERS, Stopping
from dmu_search.study.trials import Checkpoint, StudyState, TrialState, to_json

# A trial whose process is lost is tried again so often; then it counts as failed.
RETRIES = 2
# The newest checkpoint, and one before it in case that one is damaged.
_CHECKPOINTS = 2


@dataclass(frozen=True)
class Assignment:
    """A trial to be carried on with: from its start, or from a checkpoint.

    Attributes:
        number: of the trial.
        values: its searched settings.
        source: whose setting it is; None for a sampler's proposal.
        checkpoints: to resume from, the newest first; the next one where one is damaged.
        room: times the usual share of the machine.
    """

    number: int
    values: Mapping[str, Value]
    source: str | None
    checkpoints: tuple[Checkpoint, ...]
    room: float


@dataclass(frozen=True)
class Report:
    """What a trial reports after an epoch.

    Attributes:
        epoch: from 1.
        objective: the best so far; nan where nothing further can come of the training.
        metrics: everything that was measured.
        finished: whether the whole budget is used, or the training's own rule of success is met.
        summary: metrics of all splits at the best epoch, of a finished trial.
    """

    epoch: int
    objective: float
    metrics: Mapping[str, float]
    finished: bool = False
    summary: Mapping[str, float] | None = None


class SearchStudy:
    """Asked for assignments and told their results, by trial number.

    Args:
        space: what is searched.
        sampler: a key of ``proposals.SAMPLERS``.
        seed: of the sampler.
        startup_trials: random trials before the sampler learns from results.
        direction: whether the objective is to be small or large.
        stopping: the rule that stops trials early.
        trials: settings to try in all, warm starts included.
        warm_starts: the first of them.
        events: of the journal so far, after its first line or empty.
        append: puts an event on disk; returns when it is there.

    Attributes:
        direction: as given.
        follow: told of each event, and the trial as it is then, once it has taken effect.
    """

    def __init__(
        self,
        space: Mapping[str, Distribution],
        *,
        sampler: str,
        seed: int,
        startup_trials: int,
        direction: Direction,
        stopping: Stopping,
        trials: int,
        warm_starts: Sequence[WarmStart] = (),
        events: Sequence[Event] = (),
        append: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.direction: Direction = direction
        self.follow: Callable[[Event, TrialState], None] = lambda event, trial: None
        self._state = StudyState.of(events)
        self._stopping = stopping
        self._limit = trials
        self._warm_starts = tuple(warm_starts)
        self._append = append
        self._proposals = Proposals(
            space, sampler=sampler, seed=seed, startup_trials=startup_trials, direction=direction
        )
        self._carried: set[int] = set()

    @classmethod
    def of(
        cls,
        settings: StudySettings,
        *,
        events: Sequence[Event] = (),
        append: Callable[[Event], None] = lambda event: None,
    ) -> "SearchStudy":
        """The study that ``settings`` describe, in the state that ``events`` tell.

        Raises:
            StorageError: the events make no sense.
        """
        search, direction = settings.search, TASKS[settings.task].direction
        return cls(
            settings.space,
            sampler=search.sampler,
            seed=search.seed,
            startup_trials=search.startup_trials,
            direction=direction,
            stopping=SCHEDULERS[search.scheduler](
                grace_epochs=settings.grace_epochs,
                reduction_factor=search.reduction_factor,
                max_epochs=settings.max_epochs,
                direction=direction,
            ),
            trials=search.trials,
            warm_starts=settings.warm_starts,
            events=events,
            append=append,
        )

    @property
    def trials(self) -> Mapping[int, TrialState]:
        """All trials, by number."""
        return self._state.trials

    @property
    def carried(self) -> int:
        """Trials that are handed out and not ended."""
        return len(self._carried)

    @property
    def over(self) -> bool:
        """Whether every trial of the study has ended."""
        return len(self.trials) >= self._limit and not self._open()

    @property
    def best(self) -> TrialState | None:
        """The best of the trials that used their whole budget."""
        return self._state.best(self.direction)

    def next(self) -> Assignment | None:
        """The next trial to carry out; None while all that are left are carried.

        Trials that an earlier process left open come first, then new ones.
        """
        waiting = [trial for trial in self._open() if trial.number not in self._carried]
        if waiting:
            trial = waiting[0]
        elif len(self.trials) < self._limit:
            trial = self._ask()
        else:
            return None
        self._carried.add(trial.number)
        newest_first = tuple(reversed(trial.checkpoints))
        return Assignment(trial.number, trial.values, trial.source, newest_first, trial.room)

    def report(self, number: int, report: Report) -> bool:
        """Take a result in and decide; returns whether the trial goes on.

        A resumed trial repeats the epochs since its checkpoint. What is known already changes
        nothing; where the results differ, the new training takes the place of the old one.
        """
        trial = self.trials[number]
        known = trial.objectives.get(report.epoch)
        if known is not None and trial.status == "open":
            if _same(known, report.objective):
                return True
            self._keep({"event": "restart", "trial": number, "epoch": report.epoch})
        event = {
            "event": "result",
            "trial": number,
            "epoch": report.epoch,
            "objective": report.objective if math.isfinite(report.objective) else None,
            "metrics": to_json(report.metrics),
            **({"summary": to_json(report.summary)} if report.summary else {}),
        }
        decision = self._decide(event, report)
        self._keep({**event, "decision": decision})
        if decision != "continue":
            self._carried.discard(number)
        return decision == "continue"

    def keep_checkpoint(self, number: int, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Take note of a checkpoint that is on disk; returns files that are no longer needed."""
        self._keep(
            {
                "event": "checkpoint",
                "trial": number,
                "epoch": checkpoint.epoch,
                "file": checkpoint.file,
            }
        )
        return tuple(each.file for each in self.trials[number].checkpoints[:-_CHECKPOINTS])

    def drop_checkpoints(self, number: int, files: Sequence[str]) -> None:
        """Forget checkpoints, before their files are removed."""
        self._keep({"event": "dropped", "trial": number, "files": list(files)})

    def lose(self, number: int, reason: str, *, more_room: bool) -> bool:
        """The process of a trial is gone; returns whether it is tried again.

        Args:
            number: of the trial.
            reason: a few words.
            more_room: whether it needs a larger share of the machine.
        """
        trial = self.trials[number]
        if trial.retries >= RETRIES:
            self.fail(number, f"its process was lost {trial.retries + 1} times ({reason})")
            return False
        room = trial.room * 2 if more_room else trial.room
        self._keep({"event": "retry", "trial": number, "reason": reason, "room": room})
        self._carried.discard(number)
        return True

    def fail(self, number: int, error: str) -> None:
        """The trial ended without a usable value, by a fault of its own."""
        self._keep({"event": "fail", "trial": number, "error": error})
        self._carried.discard(number)

    def _open(self) -> list[TrialState]:
        return [trial for trial in self.trials.values() if trial.status == "open"]

    def _ask(self) -> TrialState:
        number = len(self.trials)
        point = self._warm_starts[number] if number < len(self._warm_starts) else None
        given = {} if point is None else point.values
        values = self._proposals.propose(number, self.trials, given=given)
        source = None if point is None else point.source
        self._keep({"event": "ask", "trial": number, "values": values, "source": source})
        return self.trials[number]

    def _decide(self, event: Event, report: Report) -> str:
        """``continue``, or the status that the trial ends with."""
        if not math.isfinite(report.objective):
            return "diverged"
        if report.finished:
            return "finished"
        after = StudyState(dict(self.trials))
        after.apply({**event, "decision": "continue"})
        stops = self._stopping.stops(after.trials, event["trial"])
        return "stopped early" if stops else "continue"

    def _keep(self, event: Event) -> None:
        self._append(event)
        self._state.apply(event)
        self.follow(event, self.trials[event["trial"]])


def _same(known: float, new: float) -> bool:
    return known == new or (math.isnan(known) and math.isnan(new))
