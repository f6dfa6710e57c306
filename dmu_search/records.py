"""Recorded runs: what was trained, with which settings, and what came out.

Every run is one file of JSON lines that only ever grows, so that a killed process loses at most the
line it was writing. The tracking server is filled from these files, by a process that follows them,
or later by ``sync``.
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
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
        kind: ``study``, ``trial``, ``finalist``, ``retraining`` or ``comparison`` (of studies).
        parent_id: the study of a trial or finalist.
        params: settings by dotted key.
        tags: everything else by which runs are found.
        datasets: what it reads: ``name``, ``digest``, ``split``, ``source`` and ``source_type``.
    """

    run_id: str
    name: str
    kind: str
    parent_id: str | None = None
    params: Mapping[str, Param] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[Mapping[str, str]] = ()


class Recorder:
    """Appends the events of runs to one file per run, then passes them on.

    Args:
        folder: of the records.
        forward: gets ``(run_id, event)`` after the event is on disk; None for records only.
    """

    def __init__(self, folder: Path, forward: Callable[[str, Event], None] | None = None) -> None:
        self.folder = folder
        self._forward = forward
        self._kept: dict[str, dict[int, Mapping[str, float]]] = {}

    def start(self, run: RunStart) -> None:
        """Begin ``run``, or resume it; each resume is one more such event in its record."""
        path = self._path(run.run_id)
        _drop_cut_off_line(path)
        self._kept[run.run_id] = epochs_of(path)
        self._keep(
            run.run_id,
            event="start",
            name=run.name,
            kind=run.kind,
            parent_id=run.parent_id,
            params=dict(run.params),
            tags=dict(run.tags),
            **({"datasets": [dict(each) for each in run.datasets]} if run.datasets else {}),
        )

    def close_for(self, run_id: str, status: str) -> None:
        """Close a run whose writer is gone."""
        _drop_cut_off_line(self._path(run_id))
        self.end(run_id, status)

    def log(self, run_id: str, metrics: Mapping[str, float], *, step: int) -> None:
        """Keep ``metrics`` of epoch ``step``, unless it is kept already.

        A resumed training repeats the epochs since its last checkpoint, with the same values. Where
        the values differ it is another training, and what was kept from this epoch on is void: a
        record never mixes two.
        """
        kept = self._kept[run_id]
        if step in kept:
            if same_results(kept[step], metrics):
                return
            self.void_after(run_id, step - 1)
            kept = self._kept[run_id]
        self._keep(run_id, event="metrics", step=step, values=dict(metrics))
        kept[step] = dict(metrics)

    def void_after(self, run_id: str, last: int) -> None:
        """Say that whatever else was ever said of epochs after ``last`` is void."""
        self._keep(run_id, event="restart", step=last + 1)
        self._kept[run_id] = {each: v for each, v in self._kept[run_id].items() if each <= last}

    def epochs(self, run_id: str) -> int:
        """Epochs kept of a run that was started."""
        return max(self._kept[run_id], default=0)

    def lacks(self, run_id: str, last: int) -> bool:
        """Whether an epoch up to ``last`` is not kept, so that resuming after it leaves a gap."""
        return any(epoch not in self._kept[run_id] for epoch in range(1, last + 1))

    def summarise(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Keep ``metrics`` of the run as a whole, such as test results; later ones replace them."""
        self._keep(run_id, event="metrics", step=self.epochs(run_id), values=dict(metrics))

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add or replace tags."""
        self._keep(run_id, event="tags", tags=dict(tags))

    def tag_if_there(self, run_id: str, tags: Mapping[str, str]) -> None:
        """The same of a run of another time, whose record may have been removed since."""
        if self.has(run_id):
            self.tag(run_id, tags)

    def attach(self, run_id: str, path: Path) -> None:
        """Keep the file or folder ``path`` with the run; the record holds its address only."""
        self._keep(run_id, event="artifact", path=str(path.resolve()))

    def attach_model(
        self, run_id: str, folder: Path, *, name: str, tags: Mapping[str, str]
    ) -> None:
        """Keep a trained network, whose description and weights are in ``folder``, with the run."""
        path = str(folder.resolve())
        self._keep(run_id, event="model", path=path, name=name, tags=dict(tags))

    def end(self, run_id: str, status: str) -> None:
        """Close the run: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._keep(run_id, event="end", status=status)
        self._kept.pop(run_id, None)

    def is_closed(self, run_id: str) -> bool:
        """Whether the record of a run is there and ends with the run."""
        return self.has(run_id) and closes(read_events(self._path(run_id)))

    def has(self, run_id: str) -> bool:
        """Whether a run has a record."""
        return self._path(run_id).exists()

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
        StorageError: it cannot be read, does not begin with a start, or a line other than the last
            is no event.
    """
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise damaged_record(path, f"cannot be read ({fault.strerror})") from None
    yield from events_in(content, path)


def events_in(content: bytes, path: Path) -> Iterator[Event]:
    """The events of ``content``, which was read from the beginning of the record ``path``.

    Raises:
        StorageError: as ``read_events``.
    """
    lines = content.split(b"\n")
    begun = False
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            event = _event(line)
        except ValueError:
            if number < len(lines):
                raise damaged_record(path, f"line {number} is damaged") from None
            continue
        if not begun and event["event"] != "start":
            raise damaged_record(path, "its beginning is missing")
        begun = True
        yield event


def closes(events: Iterable[Event]) -> bool:
    """Whether a run was ended and not resumed since; tags may come later."""
    marks = [event["event"] for event in events if event["event"] in ("start", "end")]
    return marks[-1:] == ["end"]


def read_record(path: Path) -> list[Event]:
    """The events of one record, less what a training that began again made void.

    Raises:
        StorageError: as ``read_events``.
    """
    return without_void(read_events(path))


def without_void(events: Iterable[Event]) -> list[Event]:
    """The events less the epochs that a training replaced when it began again before them."""
    kept: list[Event] = []
    for event in events:
        if event["event"] == "restart":
            first = event["step"]
            kept = [e for e in kept if e["event"] != "metrics" or e["step"] < first]
        else:
            kept.append(event)
    return kept


def last_restart(events: Iterable[Event]) -> int | None:
    """When, in ms, the training last began again with other results; None where it never did."""
    times = [int(event["time_ms"]) for event in events if event["event"] == "restart"]
    return times[-1] if times else None


def record_files(folder: Path) -> list[Path]:
    """The records in ``folder``, by run id."""
    return sorted(path for path in folder.glob("*.jsonl") if path.is_file())


def damaged_record(path: Path, what: str) -> StorageError:
    """The error for a record that is not whole, with the way out: a study's journal has it all."""
    trial = re.fullmatch(r"(.+)\.\d{4,}", path.stem)
    way_out = (
        f"`python -m dmu_search doctor study={trial[1]}` writes it anew from the study's journal"
        if trial
        else "restore the file from a copy, or remove it and train the run again"
    )
    return StorageError(f"{path}: {what}; {way_out}")


def raise_damage(fault: StorageError) -> None:
    """What readers do about a damaged file unless they are told otherwise."""
    raise fault


_WHOLE = (int,)
_TEXT = (str,)
_TABLE = (dict,)
# What each kind of event has to hold.
_SHAPES: Mapping[object, Mapping[str, tuple[type, ...]]] = {
    "start": {
        "name": _TEXT,
        "kind": _TEXT,
        "parent_id": (str, type(None)),
        "params": _TABLE,
        "tags": _TABLE,
        "time_ms": _WHOLE,
    },
    "metrics": {"step": _WHOLE, "values": _TABLE, "time_ms": _WHOLE},
    "restart": {"step": _WHOLE, "time_ms": _WHOLE},
    "tags": {"tags": _TABLE},
    "artifact": {"path": _TEXT},
    "model": {"path": _TEXT, "name": _TEXT, "tags": _TABLE},
    "end": {"status": _TEXT, "time_ms": _WHOLE},
}


def first_tags(path: Path) -> Mapping[str, str]:
    """The tags that the run in the record ``path`` began with; none where there is no record.

    Raises:
        StorageError: the record's beginning is damaged.
    """
    start = next(read_events(path), None) if path.exists() else None
    return start["tags"] if start is not None else {}


class RecordTail:
    """Reads a record while another process writes it; a damaged line is passed over.

    Args:
        path: of the record; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_events(self) -> list[Event]:
        """The events written since the last call, whole lines only."""
        lines = whole_lines(self._path, self._offset)
        self._offset += len(lines)
        return sound_events(lines)


def whole_lines(path: Path, offset: int) -> bytes:
    """What stands in a record behind ``offset``, up to its last whole line; it may be missing."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            text = file.read()
    except FileNotFoundError:
        return b""
    return text[: text.rfind(b"\n") + 1]


def sound_events(lines: bytes) -> list[Event]:
    """The events in some lines of a record; damaged ones are passed over.

    Whoever reads the whole record says what is damaged; a search must go on.
    """
    events = []
    for line in lines.splitlines():
        with suppress(ValueError):
            events.append(_event(line))
    return events


def check_records(source: Path, own: Path) -> None:
    """Find out whether all records in ``source`` are whole and can be brought to ``own``.

    Raises:
        StorageError: every one that is damaged, or of another run than the one of its name there.
    """
    faults = []
    for path in record_files(source):
        try:
            for _ in read_events(path):
                pass
        except StorageError as fault:
            faults.append(str(fault))
            continue
        kept, brought = _content(own / path.name), path.read_bytes()
        if not (kept.startswith(brought) or brought.startswith(kept)):
            faults.append(
                f"{path}: {own / path.name} is another run of the same name, or has other epochs; "
                "rename one of them"
            )
    if faults:
        raise StorageError(*faults)


def collect_records(source: Path, own: Path) -> None:
    """Copy the records in ``source`` to ``own``; a longer version of a record replaces a shorter.

    All are checked before any is copied.

    Raises:
        StorageError: as ``check_records``, or ``own`` cannot be written.
    """
    check_records(source, own)
    if source.resolve() == own.resolve():
        return
    for path in record_files(source):
        brought, target = path.read_bytes(), own / path.name
        if not _content(target).startswith(brought):
            write_whole(target, brought)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def epochs_of(path: Path) -> dict[int, Mapping[str, float]]:
    """Epoch -> what the record ``path`` has of it; nothing where there is no record.

    Raises:
        StorageError: as ``read_events``.
    """
    events = read_record(path) if path.exists() else []
    found: dict[int, Mapping[str, float]] = {}
    for event in events:
        # What is said of a run as a whole comes later, under the number of its last epoch.
        if event["event"] == "metrics" and event["step"] not in found:
            found[event["step"]] = event["values"]
    return found


def same_results(kept: Mapping[str, float], new: Mapping[str, float]) -> bool:
    """Whether two trainings gave the same in an epoch, durations (``.._s``) aside."""
    names = {name for name in kept.keys() | new.keys() if not name.endswith("_s")}
    pairs = ((kept.get(name), new.get(name)) for name in names)
    return all(a == b or (a != a and b != b) for a, b in pairs)


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


def event_of(line: bytes) -> Event:
    """One line of a record, or of another file of events.

    Raises:
        ValueError: it is none.
    """
    try:
        event = json.loads(line)
    except RecursionError:
        raise ValueError("no event") from None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise ValueError("no event")
    return event


def _event(line: bytes) -> Event:
    """One line of a record, with what its kind has to hold.

    Raises:
        ValueError: it is none.
    """
    event = event_of(line)
    shape = _SHAPES.get(event["event"], {})
    if not all(isinstance(event.get(name, ...), kinds) for name, kinds in shape.items()):
        raise ValueError("no event")
    if "tags" in shape and not all(isinstance(tag, str) for tag in event["tags"].values()):
        raise ValueError("no tags")
    if event["event"] != "metrics":
        return event
    try:
        values = {name: float(value) for name, value in event["values"].items()}
    except TypeError:
        raise ValueError("no values") from None
    return {**event, "values": values}
