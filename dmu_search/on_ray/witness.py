"""A small process that speaks for this one where it is ended without a word.

Ray's C++ ends the process at once where it meets a raylet that is gone, and so does whoever kills
it; no handler runs then.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Says the last text that it was told when the pipe closes; an empty one is a farewell.
_LISTEN = """
import sys
last = sys.stdin.buffer.read().split(b"\\0")[-2]
sys.stderr.buffer.write(last)
"""


class Witness:
    """What is to be said of this process when it is gone.

    Args:
        listener: the process that will say it.
    """

    def __init__(self, listener: "subprocess.Popen[bytes]") -> None:
        self._listener = listener

    def entrust(self, text: str) -> None:
        """Have ``text`` said from now on, in place of the one before."""
        assert self._listener.stdin is not None, "it was started with a pipe"
        # Without a listener nothing is said, and nothing else is lost.
        with suppress(OSError):
            self._listener.stdin.write(text.encode(errors="replace") + b"\0")
            self._listener.stdin.flush()

    def dismiss(self) -> None:
        """Have nothing said: this process speaks for itself."""
        self.entrust("")


@contextmanager
def witnessed(text: str) -> Iterator[Witness]:
    """Have ``text`` said on stderr if this process ends within the ``with`` block.

    Args:
        text: whole lines.
    """
    # In a session of its own, so that a Ctrl-C or the end of the terminal does not reach it.
    listener = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LISTEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    witness = Witness(listener)
    witness.entrust(text)
    try:
        yield witness
    finally:
        witness.dismiss()
        with suppress(OSError):
            listener.communicate(timeout=10)
