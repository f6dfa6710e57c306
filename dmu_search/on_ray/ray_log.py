"""Ray's own messages: in a file, not on the screen."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

RAY_LOG = "ray.log"
_STDERR = 2


class RayLog:
    """What Ray, and the C++ in it, print in this process.

    Args:
        file: that takes it.

    Attributes:
        path: of the file, once it has a name.
    """

    def __init__(self, file: TextIO) -> None:
        self.path: Path | None = None
        self._file = file
        self._stays = False

    def stay(self) -> None:
        """Take what C++ prints until the process ends: a Ray that is lost does not fall silent."""
        self._stays = True

    def close(self, terminal: int) -> None:
        """Give the screen back, which is open as the descriptor ``terminal``."""
        if self._stays:
            sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding="utf-8")
            return
        os.dup2(terminal, _STDERR)
        os.close(terminal)
        if self.path is not None and self.words() is None:
            self.path.unlink()

    def keep(self, path: Path) -> None:
        """Give the file a name, as soon as its folder is there."""
        before = self.read()
        with path.open("a+b", buffering=0) as named:
            named.write(before)
            for descriptor in (self._file.fileno(), _STDERR):
                os.dup2(named.fileno(), descriptor)
        self.path = path

    def read(self) -> bytes:
        """All that was printed so far."""
        self._file.flush()
        descriptor = self._file.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def words(self) -> Path | None:
        """The file, if something is in it."""
        return self.path if self.path is not None and self.path.stat().st_size else None


@contextmanager
def ray_log() -> Iterator[RayLog]:
    """Send what is printed to a log for the length of a ``with`` block.

    Consoles made before still print to the screen. Ray writes whole pages of its inner state when
    one of its processes dies, from Python to stdout and from C++ to descriptor 2.
    """
    terminal = os.dup(_STDERR)
    with tempfile.TemporaryFile("w+", buffering=1, encoding="utf-8") as file:
        log = RayLog(file)
        os.dup2(file.fileno(), _STDERR)
        try:
            with redirect_stdout(file), redirect_stderr(file):
                yield log
        finally:
            log.close(terminal)
