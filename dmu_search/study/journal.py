"""The journal of a study: every decision in order, on disk before it takes effect.

A study's state is a fold over its journal (``dmu_search.study.trials``), so a resume needs nothing
else. The file holds one JSON object a line and only ever grows; nothing in it can be executed.
"""

import json
import os
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from dmu_search.errors import StorageError
from dmu_search.folders import not_writable
from dmu_search.records import event_of

JOURNAL_FILE = "journal.jsonl"

Event = Mapping[str, Any]
"""A line: ``event``, ``time_ms``, and what that kind of event holds; see ``trials.StudyState``."""


class Journal:
    """Appends events to a file, each on disk when ``append`` returns.

    Its owner holds the study's lock: two writers would interleave their decisions.

    Args:
        path: of the file; made with the first event.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    def append(self, event: Event) -> None:
        """Write one event and wait until it is on disk.

        A failed write leaves no part of the event behind, so that what follows is whole again.

        Raises:
            StorageError: the disk is full, or the file cannot be written.
        """
        line = json.dumps({"time_ms": round(time.time() * 1000), **event}, allow_nan=False)
        try:
            file = self._open()
            before = file.tell()
            try:
                rest = line.encode() + b"\n"
                # A nearly full disk takes part of a line without an error.
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        except OSError as fault:
            self.close()
            raise not_writable(self._path, str(fault.strerror)) from None

    def close(self) -> None:
        """Let go of the file; the next event opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> FileIO:
        if self._file is None:
            # Unbuffered: what a failed write leaves in a buffer would be written later.
            self._file = self._path.open("ab", buffering=0)
            end = _whole_length(self._path)
            self._file.truncate(end)
            self._file.seek(end)
        return self._file


def read_journal(path: Path) -> tuple[Event, ...]:
    """The events of a journal, oldest first; a last line cut off by a kill is left out.

    Raises:
        StorageError: another line is damaged; what stands before it can be kept.
    """
    content = path.read_bytes()
    events = []
    for number, line in enumerate(content[: _whole_length(path)].splitlines(), start=1):
        try:
            events.append(event_of(line))
        except ValueError:
            raise StorageError(
                f"{path}: line {number} is damaged; `python -m dmu_search doctor "
                f"study={path.parent.name}` keeps what stands before it"
            ) from None
    return tuple(events)


def _whole_length(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    return path.read_bytes().rfind(b"\n") + 1
