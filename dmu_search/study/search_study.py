"""A study: the one owner of what is tried, what is stopped, and what is tried next.

It knows no Ray and no clock: whatever carries trials out asks it for assignments and tells it
results. Each decision is in the journal before it takes effect.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dmu_search.config.keys import Value
from dmu_search.names import TASKS, Direction, signed_loss
from dmu_search.study.journal import Event
from dmu_search.study.proposals import SAMPLERS, Plan
from dmu_search.study.settings import StudySettings, WarmStart
from dmu_search.study.spending import Spending
from dmu_search.study.stopping import SCHEDULERS, Rungs, Stopping
from dmu_search.study.trials import Checkpoint, Report, StudyState, TrialState, to_json

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
        pauses_at: epochs after which it may have to pause, so that its state is needed.
    """

    number: int
    values: Mapping[str, Value]
    source: str | None
    checkpoints: tuple[Checkpoint, ...]
    room: float
    pauses_at: tuple[int, ...]


class SearchStudy:
    """Asked for assignments and told their results, by trial number.

    Args:
        plan: what the sampler has to know.
        sampler: a key of ``proposals.SAMPLERS``.
        stopping: the rule on who goes on.
        trials: settings to try in all, warm starts included.
        patience_trials: begun after the best one and no better, after which no more are begun.
        target: an objective that is good enough to begin no more.
        warm_starts: the first of them.
        events: of the journal so far, after its first line or empty.
        append: puts an event on disk; returns when it is there.

    Attributes:
        direction: as given.
        spending: epochs so far, and the last improvement.
        follow: told of each event, and the trial as it is then, once it has taken effect.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        sampler: str,
        stopping: Stopping,
        trials: int,
        patience_trials: int | None = None,
        target: float | None = None,
        warm_starts: Sequence[WarmStart] = (),
        events: Sequence[Event] = (),
        append: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.direction: Direction = plan.direction
        self.follow: Callable[[Event, TrialState], None] = lambda event, trial: None
        self._state = StudyState.of(events)
        self.spending = Spending.of(events, direction=plan.direction)
        self._stopping = stopping
        self._trials_at_most = trials
        self._patience_trials = patience_trials
        # Nothing is as good as minus infinity.
        self._target = -math.inf if target is None else signed_loss(target, plan.direction)
        self._warm_starts = tuple(warm_starts)
        self._append = append
        self._sampler = SAMPLERS[sampler](plan)
        self._carried: set[int] = set()
        self._best = self._state.best(plan.direction)
        self._going = {number for number, trial in self.trials.items() if not trial.over}

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
        rungs = Rungs.of(
            settings.grace_epochs,
            settings.max_epochs,
            reduction_factor=search.reduction_factor,
            direction=direction,
        )
        plan = Plan(
            settings.space,
            seed=search.seed,
            startup_trials=search.startup_trials,
            direction=direction,
            rungs=rungs.epochs,
            max_epochs=settings.max_epochs,
            priors=settings.priors,
        )
        return cls(
            plan,
            sampler=search.sampler,
            stopping=SCHEDULERS[search.scheduler](rungs),
            trials=search.trials,
            patience_trials=search.patience_trials,
            target=search.target,
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
    def enough(self) -> str | None:
        """Why no more trials are begun, in words; None while more are."""
        if len(self.trials) >= self._trials_at_most:
            return "all search.trials are begun"
        return self._satisfied

    @property
    def _satisfied(self) -> str | None:
        """Why nothing better is looked for; the best trial alone is trained to its end."""
        if self._patience_trials is None and math.isinf(self._target):
            return None
        shown = [trial for trial in self.trials.values() if trial.objective is not None]
        best = min(shown, key=self._loss, default=None)
        if best is not None and self._loss(best) <= self._target:
            return f"trial {best.number} reached search.target"
        if best is None or self._patience_trials is None:
            return None
        since = sum(trial.number > best.number for trial in shown)
        if since < self._patience_trials:
            return None
        return f"{since} trials after trial {best.number} were no better (search.patience_trials)"

    @property
    def over(self) -> bool:
        """Whether every trial of the study has ended."""
        return not self._going and self.enough is not None

    @property
    def best(self) -> TrialState | None:
        """The best of the trials that used their whole budget."""
        return self._best

    def least_likely(self) -> list[int]:
        """Paused trials, the least likely to go on first."""
        paused = [self.trials[number] for number in self._of("paused")]
        return [trial.number for trial in sorted(paused, key=self._loss, reverse=True)]

    def next(self) -> Assignment | None:
        """The next trial to carry out; None while all that are left are carried.

        Trials that an earlier process left open come first, then paused ones that are to go on,
        then new ones. When none of these is left, the trials that are still paused end.
        """
        waiting = [number for number in self._of("open") if number not in self._carried]
        if waiting:
            trial = self.trials[waiting[0]]
        else:
            self._refit(self.trials)
            number = self._to_promote(self.trials)
            if number is not None:
                self._keep({"event": "promote", "trial": number})
                trial = self.trials[number]
            elif self.enough is None:
                trial = self._ask()
            else:
                if not self._carried:
                    self._end_paused()
                return None
        self._carried.add(trial.number)
        return Assignment(
            number=trial.number,
            values=trial.values,
            source=trial.source,
            checkpoints=tuple(reversed(trial.checkpoints)),
            room=trial.room,
            pauses_at=self._stopping.pauses_at(trial),
        )

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

    def _of(self, status: Literal["open", "paused"]) -> list[int]:
        return [number for number in sorted(self._going) if self.trials[number].status == status]

    def _ask(self) -> TrialState:
        number = len(self.trials)
        point = self._warm_starts[number] if number < len(self._warm_starts) else None
        given = {} if point is None else point.values
        values = self._sampler.propose(number, self.trials, given=given, fit=self._state.fit)
        source = None if point is None else point.source
        self._keep({"event": "ask", "trial": number, "values": values, "source": source})
        return self.trials[number]

    def _decide(self, event: Event, report: Report) -> str:
        """``continue``, or the status that the trial has from now on."""
        if not math.isfinite(report.objective):
            return "diverged"
        if report.finished:
            return "finished"
        number = event["trial"]
        decision = self._stopping.decide(self._after(event, "continue"), number)
        if decision == "paused":
            # A trial that would be the next to go on need not pause.
            trials = self._after(event, "paused")
            if self._to_promote(trials) == number:
                return "continue"
        return decision

    def _after(self, event: Event, decision: str) -> Mapping[int, TrialState]:
        """The trials as an event with this decision would leave them."""
        state = StudyState(dict(self.trials))
        state.apply({**event, "decision": decision})
        return state.trials

    def _to_promote(self, trials: Mapping[int, TrialState]) -> int | None:
        """The paused trial to carry on with now; None where a new setting is due, or nothing is."""
        if self._satisfied is not None:
            return self._leader(trials)
        fit = self._state.fit
        due = self._stopping.due(trials)
        if due:
            return self._sampler.best_of(due, trials, fit=fit)
        paused = [number for number, trial in trials.items() if trial.status == "paused"]
        if not paused:
            return None
        if len(trials) < len(self._warm_starts):
            return None
        chosen = self._sampler.worth_more(paused, trials, fit=fit)
        if chosen is None and self.enough is not None:
            # The best that was seen is trained to its end.
            chosen = self._leader(trials)
        return chosen

    def _leader(self, trials: Mapping[int, TrialState]) -> int | None:
        """The paused trial that no other has been better than; None where another has."""
        leader = min(trials.values(), key=self._loss)
        return leader.number if leader.status == "paused" else None

    def _loss(self, trial: TrialState) -> float:
        if trial.objective is None:
            return math.inf
        return signed_loss(trial.objective, self.direction)

    def _refit(self, trials: Mapping[int, TrialState]) -> None:
        """Keep new hyperparameters of the sampler's model, before anything follows from them."""
        fit = self._sampler.refit(trials, self._state.fit)
        if fit is not None:
            self._keep(
                {"event": "fit", "observations": fit.observations, "values": list(fit.values)}
            )

    def _end_paused(self) -> None:
        for number in self._of("paused"):
            self._keep({"event": "end", "trial": number})

    def _keep(self, event: Event) -> None:
        self._append(event)
        self._state.apply(event)
        self.spending = self.spending.after(event, self.direction)
        if "trial" in event:
            trial = self.trials[event["trial"]]
            self._count(trial)
            self.follow(event, trial)

    def _count(self, trial: TrialState) -> None:
        """Keep who goes on and who is best: with many trials, to look at all takes long."""
        (self._going.discard if trial.over else self._going.add)(trial.number)
        if trial.status != "finished":
            return
        best = self._best
        rank = self._loss(trial), trial.number
        if best is None or trial.number == best.number or rank < (self._loss(best), best.number):
            self._best = trial


def _same(known: float, new: float) -> bool:
    return known == new or (math.isnan(known) and math.isnan(new))
