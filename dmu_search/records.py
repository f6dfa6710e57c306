"""Recorded runs: what was trained, with which settings, and what came out.

Every run is one file of JSON lines that only ever grows, so that a killed process loses at most the
line it was writing. The tracking server is filled from the same events; without one, or when it is
lost, the records are what ``sync`` brings in later.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmu_search.errors import StorageError
from dmu_search.folders import not_writable, write_whole

Param = bool | int | float | str | None

Event = Mapping[str, Any]
"""One line of a record: ``event``, ``time_ms``, and what that kind of event holds."""


@dataclass(frozen=True)
class RunStart:
    """What is known of a run when it begins.

    Attributes:
        run_id: unique over all records, and the same after a resume.
        name: what a reader calls it.
        kind: ``study``, ``trial`` or ``retraining``.
        parent_id: the study of a trial.
        params: settings by dotted key.
        tags: everything else by which runs are found.
    """

    run_id: str
    name: str
    kind: str
    parent_id: str | None = None
    params: Mapping[str, Param] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Recorder:
    """Appends the events of runs to one file per run, then passes them on.

    Args:
        folder: of the records.
        forward: gets ``(run_id, event)`` after the event is on disk; None for records only.
    """

    def __init__(self, folder: Path, forward: Callable[[str, Event], None] | None = None) -> None:
        self.folder = folder
        self._forward = forward
        self._last_step: dict[str, int] = {}

    def start(self, run: RunStart) -> None:
        """Begin ``run``, or go on with it where it stopped."""
        path = self._path(run.run_id)
        _drop_cut_off_line(path)
        self._last_step[run.run_id] = last_step(path)
        self._keep(
            run.run_id,
            event="start",
            name=run.name,
            kind=run.kind,
            parent_id=run.parent_id,
            params=dict(run.params),
            tags=dict(run.tags),
        )

    def close_for(self, run_id: str, status: str) -> None:
        """Close a run whose writer is gone."""
        _drop_cut_off_line(self._path(run_id))
        self.end(run_id, status)

    def log(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Keep ``metrics`` of epoch ``step``; an epoch already kept is left as it is.

        A resumed trial repeats the epochs since its last checkpoint, with the same values.
        """
        if step > self._last_step[run_id]:
            self._keep(run_id, event="metrics", step=step, values=dict(metrics))
            self._last_step[run_id] = step

    def summarise(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Keep ``metrics`` of the run as a whole, such as test results; later ones replace them."""
        self._keep(run_id, event="metrics", step=self._last_step[run_id], values=dict(metrics))

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add or replace tags."""
        self._keep(run_id, event="tags", tags=dict(tags))

    def attach(self, run_id: str, path: Path) -> None:
        """Keep the file ``path`` with the run; the record holds its address only."""
        self._keep(run_id, event="artifact", path=str(path.resolve()))

    def end(self, run_id: str, status: str) -> None:
        """Close the run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._keep(run_id, event="end", status=status)

    def unfinished(self, prefix: str) -> list[str]:
        """Ids of the runs that begin with ``prefix`` and were never closed."""
        records = {
            path.stem: list(read_events(path)) for path in self.folder.glob(f"{prefix}*.jsonl")
        }
        return sorted(id_ for id_, events in records.items() if events and not _is_closed(events))

    def _path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.jsonl"

    def _keep(self, run_id: str, **content: object) -> None:
        event = {"time_ms": round(time.time() * 1000), **content}
        path = self._path(run_id)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_without_nan(event)) + "\n")
        except OSError as fault:
            raise not_writable(path, str(fault.strerror)) from None
        if self._forward is not None:
            self._forward(run_id, event)


def read_events(path: Path) -> Iterator[Event]:
    """The events of one record, oldest first; a last line cut off by a kill is left out.

    Raises:
        StorageError: a line other than the last is no event.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            yield _with_nan(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise StorageError(
                    f"{path}: line {number} is no record; restore the file or remove it"
                ) from None


def first_tags(path: Path) -> Mapping[str, str]:
    """The tags that the run in the record ``path`` began with; none where there is no record."""
    start = next(read_events(path), None) if path.exists() else None
    return start["tags"] if start is not None else {}


class RecordTail:
    """Reads a record while another process writes it.

    Args:
        path: of the record; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_events(self) -> list[Event]:
        """The events written since the last call, whole lines only."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [_with_nan(json.loads(line)) for line in whole.splitlines()]


def _is_closed(events: Sequence[Event]) -> bool:
    return bool(events[-1]["event"] == "end")


def collect_records(source: Path, own: Path) -> None:
    """Copy the records in ``source`` to ``own``; a longer version of a record replaces a shorter.

    Raises:
        StorageError: two different runs have one name, or ``own`` cannot be written.
    """
    if source.resolve() == own.resolve():
        return
    for path in sorted(source.glob("*.jsonl")):
        brought, target = path.read_bytes(), own / path.name
        kept = target.read_bytes() if target.exists() else b""
        if kept.startswith(brought):
            continue
        if not brought.startswith(kept):
            raise StorageError(
                f"{path}: {target} is another run of the same name, or went on by itself; rename "
                "one of them"
            )
        write_whole(target, brought)


def last_step(path: Path) -> int:
    """The last epoch in the record ``path``; 0 where there is none."""
    if not path.exists():
        return 0
    events = read_events(path)
    return max((event["step"] for event in events if event["event"] == "metrics"), default=0)


def _drop_cut_off_line(path: Path) -> None:
    # A kill can leave half a line; the next event must not be glued to it.
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("rb+") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _without_nan(event: Event) -> Event:
    values = event.get("values")
    if values is None:
        return event
    # JSON has no NaN or infinity; as text they survive the way there and back.
    texts = {name: v if math.isfinite(v) else str(v) for name, v in values.items()}
    return {**event, "values": texts}


def _with_nan(event: Event) -> Event:
    values = event.get("values")
    if values is None:
        return event
    return {**event, "values": {name: float(value) for name, value in values.items()}}
