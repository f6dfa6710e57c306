"""What a search tells whoever watches it."""

from dataclasses import dataclass
from typing import Protocol

from dmu_search.study.trials import TrialState


@dataclass(frozen=True)
class TrialView:
    """A trial at one moment.

    Attributes:
        number: in the study, from 0.
        status: ``running``, ``paused``, ``interrupted``, ``finished``, ``stopped early``,
            ``diverged`` or ``failed``.
        epoch: epochs done.
        objective: best validation result so far, all replicas as one; None before the first epoch.
        values: its searched settings.
        warm_start: source of a warm start, else None.
        epoch_wall_time_s: duration of its last epoch; None before the first.
        error: one sentence, for a failed trial.
        problem: one sentence, for a trial that runs slower than it should.
    """

    number: int
    status: str
    epoch: int
    objective: float | None
    values: dict[str, object]
    warm_start: str | None
    epoch_wall_time_s: float | None = None
    error: str | None = None
    problem: str | None = None

    @classmethod
    def of(cls, trial: TrialState, *, problem: str | None = None) -> "TrialView":
        """A trial as the study knows it; one that is open is running."""
        metrics = trial.metrics.get(trial.epoch, {})
        return cls(
            number=trial.number,
            status="running" if trial.status == "open" else trial.status,
            epoch=trial.epoch,
            objective=None if trial.status in ("diverged", "failed") else trial.objective,
            values=dict(trial.values),
            warm_start=trial.source,
            epoch_wall_time_s=metrics.get("epoch_wall_time_s"),
            error=trial.error,
            problem=problem,
        )


class Watcher(Protocol):
    """Is told of every change of a trial, on the thread that runs the search."""

    def update(self, trial: TrialView) -> None:
        """A trial began, finished an epoch, or ended."""

    def say(self, sentence: str) -> None:
        """Something happened that is to be read, such as a trial that is tried again."""
