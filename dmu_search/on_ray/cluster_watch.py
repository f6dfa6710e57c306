"""The end of a study whose Ray is lost: in order, even where Ray keeps the main thread."""

import threading
from collections.abc import Callable
from types import TracebackType

from dmu_search.errors import DmuSearchError
from dmu_search.on_ray.interrupt import Halt
from dmu_search.on_ray.lifeline import Lifeline
from dmu_search.on_ray.session import end_process

_LOOK_EVERY_S = 0.5
# For Ray Tune to come back by itself; where it waits for a dead head, it does not.
_PATIENCE_S = 3.0


class ClusterWatch:
    """Halts a search when Ray is lost, for the length of a ``with`` block.

    Args:
        halt: told of the loss.
        last_words: called on a thread of the watch where Ray does not let go of the main one; it
            closes what is open and tells the user. The process ends after it.

    Attributes:
        lifeline: what is watched.

    Raises:
        ClusterError: at its beginning, Ray is lost already.
    """

    def __init__(self, halt: Halt, last_words: Callable[[DmuSearchError], None]) -> None:
        self._halt = halt
        self._last_words = last_words
        self.lifeline = Lifeline.of_session()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "ClusterWatch":
        # Ray's C++ ends the process without a word where it meets a raylet that is gone.
        if (fault := self.lifeline.fault()) is not None:
            raise fault
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()

    def check(self) -> bool:
        """Look now; returns whether Ray is lost."""
        fault = self.lifeline.fault()
        if fault is not None and not self._left.is_set():
            self._halt(fault)
        return fault is not None

    def _run(self) -> None:
        while not self._left.wait(_LOOK_EVERY_S):
            if self.check():
                break
        if not self._left.wait(_PATIENCE_S) and self._halt.fault is not None:
            self._last_words(self._halt.fault)
            end_process()
