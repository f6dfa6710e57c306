"""The trials of a study, and its state as a fold over the events of its journal."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

from dmu_search.config.keys import Value
from dmu_search.errors import StorageError
from dmu_search.names import Direction, signed_loss
from dmu_search.study.journal import Event

Status = Literal["open", "paused", "finished", "stopped early", "diverged", "failed"]

FORMAT = 1


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


@dataclass(frozen=True)
class Checkpoint:
    """A state that a trial can be resumed from.

    Attributes:
        epoch: that it was written after.
        file: its path below the study's folder.
    """

    epoch: int
    file: str


@dataclass(frozen=True)
class Fit:
    """Hyperparameters of a model of the trials, kept so that a resumed study has the same model.

    Attributes:
        observations: that they were fitted to.
        values: as the model has them.
    """

    observations: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class Finalists:
    """Settings of a search that are trained over fresh seeds, so that luck does not choose.

    Attributes:
        trials: that tried them, the best of the search first.
        first_seed: of replica 0.
        seeds: replicas of each.
        results: trial -> best validation result of each seed; nan where it had none.
        winner: the trial whose setting the study ends with; None until it is decided.
    """

    trials: tuple[int, ...]
    first_seed: int
    seeds: int
    results: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    winner: int | None = None

    @property
    def missing(self) -> tuple[int, ...]:
        """Trials whose settings still have to be trained."""
        return tuple(number for number in self.trials if number not in self.results)


@dataclass(frozen=True)
class TrialState:
    """One setting and what is known of it.

    Attributes:
        number: in the study, from 0.
        values: the searched keys that apply.
        source: whose setting it is (``paper``, ``released``); None for a sampler's proposal.
        status: ``open`` or ``paused`` until it ended.
        objectives: epoch -> objective, the best so far; nan where training had diverged.
        metrics: epoch -> everything that was measured.
        summary: metrics of all splits at the best epoch, once it used its whole budget.
        checkpoints: the newest two, older first.
        retries: how often its process was lost.
        room: times the usual share of the machine that it needs.
        error: why it failed, in a sentence.
    """

    number: int
    values: Mapping[str, Value]
    source: str | None = None
    status: Status = "open"
    objectives: Mapping[int, float] = field(default_factory=dict)
    metrics: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    summary: Mapping[str, float] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()
    retries: int = 0
    room: float = 1.0
    error: str | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status not in ("open", "paused")

    @cached_property
    def epoch(self) -> int:
        """Epochs known; 0 before the first."""
        return max(self.objectives, default=0)

    @cached_property
    def objective(self) -> float | None:
        """The objective after the last epoch; None before the first and where it diverged."""
        value = self.objectives.get(self.epoch, math.nan)
        return None if math.isnan(value) else value


@dataclass
class StudyState:
    """All that a journal says.

    Kinds of events, with what they hold beside ``event`` and ``time_ms``:

    ``study``: ``format``, ``study`` (what ``study.yaml`` holds): the first line.
    ``session``: ``pid``, ``host``: a process took the study over.
    ``ask``: ``trial``, ``values``, ``source``: a setting is to be tried.
    ``result``: ``trial``, ``epoch``, ``objective`` (null for nan), ``metrics``, ``summary``, and
    the ``decision`` made on it: ``continue``, or the status that the trial ends with.
    ``restart``: ``trial``, ``epoch``: from this epoch on it was trained anew with other results.
    ``checkpoint``: ``trial``, ``epoch``, ``file``. ``dropped``: ``trial``, ``files`` removed.
    ``retry``: ``trial``, ``reason``, ``room``: its process was lost.
    ``fail``: ``trial``, ``error``: it raised, or was lost too often.
    ``promote``: ``trial``: it was paused and goes on. ``end``: ``trial``: it was paused and ends as
    stopped early.
    ``fit``: ``observations``, ``values``: hyperparameters of the sampler's model from now on.
    ``finalists``: ``trials``, ``first_seed``, ``seeds``: their settings are trained over these.
    ``finalist``: ``trial``, ``values``: best validation result of each seed, null where none.
    ``winner``: ``trial``: the study ends with its setting.

    Attributes:
        trials: by number.
        fit: of the sampler's model; None before the first.
        finalists: of the trials so far; None until they are chosen, and once more trials are asked.
        identity: the first event; empty before it.
    """

    trials: dict[int, TrialState] = field(default_factory=dict)
    identity: Event = field(default_factory=dict)
    fit: Fit | None = None
    finalists: Finalists | None = None

    @classmethod
    def of(cls, events: Iterable[Event]) -> "StudyState":
        """The state after these events.

        Raises:
            StorageError: an event makes no sense after those before it.
        """
        state = cls()
        for number, event in enumerate(events, start=1):
            try:
                state.apply(event)
            except (KeyError, TypeError, ValueError, AttributeError) as fault:
                raise StorageError(
                    f"event {number} of the journal ({event.get('event')}) makes no sense there "
                    f"({type(fault).__name__}: {fault}); `python -m dmu_search doctor study=NAME` "
                    "keeps what stands before it"
                ) from None
        return state

    def apply(self, event: Event) -> None:
        """Take one more event in; kinds of later versions are passed over.

        Raises:
            ValueError: it lacks something, or holds something else.
            KeyError: it is of a trial that is not known.
        """
        kind = event["event"]
        for name, kinds in _SHAPES.get(kind, {}).items():
            if not isinstance(event.get(name, ...), kinds):
                raise ValueError(f"{name} is missing or of another kind")
        if kind == "study":
            if event["format"] != FORMAT:
                raise ValueError(f"written by another version, format {event['format']}")
            self.identity = event
        elif kind == "ask":
            if event["trial"] in self.trials:
                raise ValueError(f"trial {event['trial']} is asked for twice")
            self.trials[event["trial"]] = TrialState(
                event["trial"], dict(event["values"]), event["source"]
            )
            self.finalists = None
        elif kind == "fit":
            self.fit = Fit(event["observations"], tuple(float(v) for v in event["values"]))
        elif kind in _FINALS:
            self.finalists = _FINALS[kind](self, event)
        elif kind in _CHANGES:
            trial = self.trials[event["trial"]]
            self.trials[trial.number] = _CHANGES[kind](trial, event)

    def best(self, direction: Direction) -> TrialState | None:
        """The trial with the best objective of those that used their whole budget."""
        finished = [trial for trial in self.trials.values() if trial.status == "finished"]

        def loss(trial: TrialState) -> float:
            assert trial.objective is not None, "a finished trial has an objective"
            return signed_loss(trial.objective, direction)

        return min(finished, key=loss, default=None)


def _result(trial: TrialState, event: Event) -> TrialState:
    epoch, objective = int(event["epoch"]), event["objective"]
    decision: Any = event["decision"]
    if decision not in ("continue", *get_args(Status)):
        raise ValueError(f"no such decision: {decision}")
    return replace(
        trial,
        objectives={**trial.objectives, epoch: math.nan if objective is None else objective},
        metrics={**trial.metrics, epoch: from_json(event["metrics"])},
        summary=from_json(event.get("summary", {})),
        status="open" if decision == "continue" else decision,
    )


def _restart(trial: TrialState, event: Event) -> TrialState:
    first = event["epoch"]
    return replace(
        trial,
        objectives={epoch: v for epoch, v in trial.objectives.items() if epoch < first},
        metrics={epoch: v for epoch, v in trial.metrics.items() if epoch < first},
    )


def _checkpoint(trial: TrialState, event: Event) -> TrialState:
    new = Checkpoint(event["epoch"], event["file"])
    kept = tuple(each for each in trial.checkpoints if each.file != new.file)
    return replace(trial, checkpoints=(*kept, new))


def _dropped(trial: TrialState, event: Event) -> TrialState:
    gone = set(event["files"])
    return replace(trial, checkpoints=tuple(c for c in trial.checkpoints if c.file not in gone))


def _retry(trial: TrialState, event: Event) -> TrialState:
    return replace(trial, retries=trial.retries + 1, room=event["room"])


def _promote(trial: TrialState, event: Event) -> TrialState:
    return replace(trial, status="open")


def _end(trial: TrialState, event: Event) -> TrialState:
    return replace(trial, status="stopped early")


def _fail(trial: TrialState, event: Event) -> TrialState:
    return replace(trial, status="failed", error=event["error"])


def _finalists(state: StudyState, event: Event) -> Finalists:
    chosen = tuple(state.trials[number].number for number in event["trials"])
    return Finalists(chosen, event["first_seed"], event["seeds"])


def _finalist(state: StudyState, event: Event) -> Finalists:
    chosen = _chosen(state, event)
    values = tuple(math.nan if v is None else float(v) for v in event["values"])
    if len(values) != chosen.seeds:
        raise ValueError(f"{len(values)} results of {chosen.seeds} seeds")
    return replace(chosen, results={**chosen.results, event["trial"]: values})


def _winner(state: StudyState, event: Event) -> Finalists:
    return replace(_chosen(state, event), winner=event["trial"])


def _chosen(state: StudyState, event: Event) -> Finalists:
    """The finalists, of which the event's trial is one."""
    if state.finalists is None or event["trial"] not in state.finalists.trials:
        raise ValueError(f"trial {event['trial']} is no finalist")
    return state.finalists


_NUMBER = (int, float)
# What each kind of event has to hold.
_SHAPES: Mapping[str, Mapping[str, Any]] = {
    "study": {"format": int},
    "ask": {"trial": int, "values": dict, "source": (str, type(None))},
    "result": {
        "trial": int,
        "epoch": int,
        "objective": (*_NUMBER, type(None)),
        "metrics": dict,
        "decision": str,
    },
    "restart": {"trial": int, "epoch": int},
    "checkpoint": {"trial": int, "epoch": int, "file": str},
    "dropped": {"trial": int, "files": list},
    "retry": {"trial": int, "reason": str, "room": _NUMBER},
    "fail": {"trial": int, "error": str},
    "promote": {"trial": int},
    "end": {"trial": int},
    "fit": {"observations": int, "values": list},
    "finalists": {"trials": list, "first_seed": int, "seeds": int},
    "finalist": {"trial": int, "values": list},
    "winner": {"trial": int},
}

_FINALS = {"finalists": _finalists, "finalist": _finalist, "winner": _winner}

_CHANGES = {
    "result": _result,
    "restart": _restart,
    "checkpoint": _checkpoint,
    "dropped": _dropped,
    "retry": _retry,
    "fail": _fail,
    "promote": _promote,
    "end": _end,
}


def to_json(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Metrics as JSON has them: what is not finite as text."""
    return {name: v if math.isfinite(v) else str(v) for name, v in metrics.items()}


def from_json(metrics: Mapping[str, float | str]) -> dict[str, float]:
    """The inverse of ``to_json``."""
    return {name: float(value) for name, value in metrics.items()}
