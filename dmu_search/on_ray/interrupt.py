"""Ctrl-C, a job's end and a time budget as one orderly stop of the search."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from dmu_search.errors import DmuSearchError

# Tune ends its loop in order on this signal, saving its state; SIGINT is ours to interpret.
_STOP_TUNE = signal.SIGUSR1


def stop_tune() -> None:
    """Make Tune leave its loop after the current event."""
    os.kill(os.getpid(), _STOP_TUNE)


@dataclass
class Halt:
    """A fault of the disk or of Ray as an orderly end: the trials stay open for a resume.

    Attributes:
        fault: the first; None while all is well.
    """

    fault: DmuSearchError | None = None

    def __call__(self, fault: DmuSearchError) -> None:
        """End the search after the current event."""
        if self.fault is None:
            self.fault = fault
            stop_tune()


@dataclass
class Stop:
    """Whether and why the search was asked to stop.

    Attributes:
        reason: ``interrupted``, ``time budget``; None while it goes on.
    """

    reason: str | None = None

    def request(self, reason: str) -> None:
        """Stop after the current event; what finished is kept."""
        if self.reason is None:
            self.reason = reason
            stop_tune()


@contextmanager
def stop_on_signals(time_budget_s: float | None) -> Iterator[Stop]:
    """Turn SIGINT, SIGTERM, SIGHUP and the budget's end into a ``Stop``.

    A second Ctrl-C ends at once.
    """
    stop = Stop()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if stop.reason == "interrupted":
            raise KeyboardInterrupt
        if stop.reason is None:
            stop.request("interrupted")
        stop.reason = "interrupted"

    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, handle),
        signal.SIGTERM: signal.signal(signal.SIGTERM, handle),
        signal.SIGHUP: signal.signal(signal.SIGHUP, handle),
        # Outside Tune's loop the signal must not end the process.
        _STOP_TUNE: signal.signal(_STOP_TUNE, lambda *_: None),
    }
    timer = threading.Timer(time_budget_s or 0, stop.request, args=("time budget",))
    timer.daemon = True
    if time_budget_s is not None:
        timer.start()
    try:
        yield stop
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
