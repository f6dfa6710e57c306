"""What ended a trial's process: a fault of its setting, or of the machine.

One thing here reaches into Ray Tune: ``memory_kills_as_deaths``. Where Ray's memory monitor kills a
process, Tune's actor manager gets an ``OutOfMemoryError`` and ends the whole run. Ray has no
setting and no callback for it: in 2.60 the error reaches no scheduler, callback or
``FailureConfig``. The public ways around are worse. Without the monitor
(``RAY_memory_monitor_refresh_ms=0``) the system kills instead, perhaps the driver; a fresh Tune run
costs all trials the epochs since their checkpoints. A Ray without that method is used as it is;
``tests/on_ray/test_faults.py`` says when the method, or the need for this, is gone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.experiment import Trial

# What Python, torch, CUDA and C++ say of too little memory.
_MEMORY = (
    "memoryerror",
    "out of memory",
    "allocate memory",
    "bad_alloc",
)
# Of Ray's memory monitor.
_MONITOR = "low on memory"
_NODE = ("node died", "node has died", "node was terminated", "node failure")


@dataclass(frozen=True)
class TrialFault:
    """Why a trial's process ended.

    Attributes:
        reason: in a sentence.
        own: whether the setting is to blame, so that another try would end alike.
        more_room: whether another try needs a larger share of the machine.
    """

    reason: str
    own: bool = False
    more_room: bool = False


def fault_of(trial: Trial) -> TrialFault:
    """Judge the last error of a trial by its kind and its words."""
    error = _error(trial)
    if isinstance(error, RayActorError) and not error.actor_init_failed:
        return _loss(str(error))
    cause = cause_of(trial)
    if cause is not None:
        return _raised(f"{type(cause).__name__}: {cause}")
    # What an actor's start raised is known as text only, and so are errors of other kinds.
    text = str(error or _text(trial)).strip() or "no reason given"
    return _loss(text) if _MONITOR in text else _raised(text.splitlines()[-1])


def cause_of(trial: Trial) -> BaseException | None:
    """The exception that the code in the process raised; None where there was none."""
    cause = getattr(_error(trial), "cause", None)
    return cause if isinstance(cause, BaseException) else None


def _error(trial: Trial) -> BaseException | None:
    """The error as Tune has just kept it; its own getters look where it is copied to later."""
    path = trial.pickled_error_file
    if path is None or not Path(path).exists():
        return None
    error: BaseException = cloudpickle.loads(Path(path).read_bytes())
    return error


def _text(trial: Trial) -> str:
    path = trial.error_file
    return Path(path).read_text(encoding="utf-8") if path and Path(path).exists() else ""


def _loss(text: str) -> TrialFault:
    if _MONITOR in text:
        return TrialFault(
            "Ray ended its process because the machine's memory was nearly full", more_room=True
        )
    if any(words in text for words in _NODE):
        return TrialFault("its machine was lost")
    return TrialFault(
        "its process was killed, by somebody or by the system for want of memory", more_room=True
    )


def _raised(text: str) -> TrialFault:
    sentence = " ".join(text.split())[:300]
    if any(words in sentence.lower() for words in _MEMORY):
        return TrialFault(f"it ran out of memory ({sentence})", more_room=True)
    return TrialFault(sentence, own=True)


class MemoryKillError(RayActorError):
    """A process that Ray's memory monitor killed, as an actor's death."""


@contextmanager
def memory_kills_as_deaths() -> Iterator[None]:
    """Let a trial fail alone, for a ``with`` block, when Ray's memory monitor kills its process.

    The monitor's ``OutOfMemoryError`` is neither a ``RayActorError`` nor a ``RayTaskError``, and
    Ray Tune ends the whole run on any other error of an actor's task.
    """
    manager = actor_manager()
    if manager is None:
        yield
        return
    original = manager._actor_task_failed

    def failed(self: Any, *, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = MemoryKillError("", str(exception))
        original(self, tracked_actor_task=tracked_actor_task, exception=exception)

    manager._actor_task_failed = failed
    try:
        yield
    finally:
        manager._actor_task_failed = original


def actor_manager() -> Any:
    """Ray Tune's class with the method that ends the run; None in a Ray without it."""
    try:
        from ray.air.execution._internal import RayActorManager
    except ImportError:
        return None
    return RayActorManager if hasattr(RayActorManager, "_actor_task_failed") else None
