"""How many epochs a search still trains, estimated from what its trials took so far."""

from collections.abc import Iterable
from dataclasses import dataclass

# Trials that the expectation counts for beside those that were seen.
_WEIGHT = 10


@dataclass(frozen=True)
class Progress:
    """How far a trial has got.

    Attributes:
        epoch: epochs done.
        status: of ``trials.TrialState``; ``running`` is ``open``.
        whole: whether it trains to its end whatever it shows, as a warm start does.
    """

    epoch: int
    status: str
    whole: bool

    @property
    def running(self) -> bool:
        """Whether a process carries it."""
        return self.status in ("running", "open")


@dataclass(frozen=True)
class _Habit:
    """What a scheduler makes of trials, in shares of a whole training.

    Attributes:
        trial: epochs of a trial in the end, in the mean over a study.
        running: of what a running trial lacks to a whole training, that it still trains.
        tail: trained after the last trial has begun, by trials that wait.
    """

    trial: float
    running: float
    tail: float


# Means over simulated studies of 20 to 100 trials: benchmarks/time_left.py.
_HABITS = {
    "promotion": _Habit(trial=0.45, running=0.0, tail=1.0),
    "asha": _Habit(trial=0.22, running=0.5, tail=0.0),
    "none": _Habit(trial=1.0, running=1.0, tail=0.0),
}


def epochs_left(
    trials: Iterable[Progress], *, in_all: int, max_epochs: int, scheduler: str
) -> float:
    """Epochs that all trials together still train until the search is over.

    A new trial is expected to take what trials took so far in the mean; ten more, of the
    scheduler's habit, steady that mean while few have been seen.

    Args:
        trials: begun so far.
        in_all: trials of the study.
        max_epochs: of a whole training.
        scheduler: of ``search.scheduler``.
    """
    habit, begun = _HABITS[scheduler], list(trials)
    whole = [trial for trial in begun if trial.whole]
    others = [trial for trial in begun if not trial.whole]
    # A paused trial counts with what it took; a running one only where it may pause soon.
    seen = [trial for trial in others if habit.tail or not trial.running]
    shares = sum(trial.epoch for trial in seen) / max_epochs
    new = (in_all - len(begun)) * (habit.trial * _WEIGHT + shares) / (_WEIGHT + len(seen))
    certain = sum(max_epochs - trial.epoch for trial in whole if trial.running)
    likely = habit.running * sum(max_epochs - trial.epoch for trial in others if trial.running)
    waits = any(trial.running or trial.status == "paused" for trial in others)
    return certain + likely + (new + (habit.tail if new or waits else 0.0)) * max_epochs
