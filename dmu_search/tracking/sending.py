"""Records brought into MLflow as they grow, every point once.

A record is compared as a whole with what MLflow has of its run at the first contact and after every
failure, for a request without an answer may have done its work. In between, only what is new is
written. A record that MLflow has in full, by the place kept on disk, is not looked at.
"""

import glob
import time
from dataclasses import dataclass
from pathlib import Path

from dmu_search.errors import StorageError
from dmu_search.folders import OutputFolder
from dmu_search.records import events_in, sound_events, whole_lines
from dmu_search.tracking.mlflow_runs import is_refusal, reason_of
from dmu_search.tracking.places import Place, Places
from dmu_search.tracking.store import Store

# Until a run that MLflow refuses is tried again, or a study that another process has.
_PATIENCE_S = 5.0


class StoreLostError(Exception):
    """The store does not answer; what was to be written is tried again."""


@dataclass
class _Record:
    """A record that is followed.

    Attributes:
        root: id of the run that it belongs to: its parent, or itself.
        place: how far it has come.
        sure: whether MLflow has nothing of it from behind that place.
        refused: why MLflow does not take it; None if it does.
        due: when it is tried again.
    """

    root: str
    place: Place
    sure: bool = False
    refused: str | None = None
    due: float = 0.0


class Sending:
    """Follows records and writes to MLflow what is new in them.

    Args:
        store: where to; it is opened.
        compare: whether everything is compared with what the store has, whatever the places say.

    Attributes:
        runs: MLflow's side.

    Raises:
        TrackingError: the store cannot be used.
        StorageError: its folder cannot be written.
    """

    def __init__(self, store: Store, *, compare: bool = False) -> None:
        self._compare = compare
        self.runs = store.open()
        self._records = OutputFolder(store.output_dir).records
        self._sent = OutputFolder(store.output_dir).sent / store.name
        self._identity = self.runs.identity()
        self._places: dict[str, Places] = {}
        self._asked: dict[str, float] = {}
        self._followed: dict[str, _Record] = {}
        self._gone: set[str] = set()
        self._expected: set[str] = set()

    def follow(self, run_id: str, *, expected: bool = False) -> None:
        """Bring in what is in the record of a run, and what comes to it until the run ends.

        With the first run of a study come all others that it has records of.

        Args:
            run_id: of the run.
            expected: whether more is to come, also where the run has ended: it is resumed.
        """
        if expected:
            self._expected.add(run_id)
        if run_id not in self._followed:
            self._asked.setdefault(run_id, 0.0)

    def send(self) -> None:
        """Write what is new.

        Raises:
            StoreLostError: the store does not answer.
        """
        self._take_up()
        for run_id, record in list(self._followed.items()):
            if record.due <= time.monotonic():
                self._send_record(run_id, record)

    def unsent(self) -> list[str]:
        """Runs with something that MLflow does not have."""
        behind = [
            run_id
            for run_id, record in self._followed.items()
            if whole_lines(self._path(run_id), record.place.offset)
        ]
        return behind + [run_id for run_id in self._asked if self._path(run_id).exists()]

    def refused(self) -> dict[str, str]:
        """Runs that MLflow does not take, and why."""
        return {
            run_id: record.refused
            for run_id, record in self._followed.items()
            if record.refused is not None
        }

    def close(self) -> None:
        """Let another process follow these runs."""
        for places in self._places.values():
            places.close()

    def _take_up(self) -> None:
        """Begin to follow the runs that were asked for and have a record by now."""
        now = time.monotonic()
        for run_id, due in list(self._asked.items()):
            content = whole_lines(self._path(run_id), 0) if due <= now else b""
            if not content:
                continue
            root = _parent(content) or run_id
            try:
                if root not in self._places:
                    self._places[root] = Places(self._sent / root, self._identity)
                    self._look_for(root)
                    self._take_up_all(root)
            except StorageError:
                # The sender of a search that was killed has it, until it has written what it knows.
                self._asked[run_id] = now + _PATIENCE_S
                continue
            self._follow(run_id, content, root=root)
            self._asked.pop(run_id, None)

    def _look_for(self, root: str) -> None:
        """A study that is not there any more is written anew, whatever the places say."""
        try:
            if self.runs.address(root) is None:
                self._gone.add(root)
        except Exception as fault:  # Whatever a database or network client raises.
            self._places.pop(root).close()
            raise StoreLostError(reason_of(fault)) from fault

    def _take_up_all(self, root: str) -> None:
        """Follow what earlier processes left of a study: its own run first, for trials name it."""
        own = whole_lines(self._path(root), 0)
        if own:
            self._follow(root, own, root=root)
        for path in sorted(self._records.glob(f"{glob.escape(root)}.*.jsonl")):
            content = whole_lines(path, 0)
            if content and _parent(content) == root:
                self._follow(path.stem, content, root=root)

    def _follow(self, run_id: str, content: bytes, *, root: str) -> None:
        if run_id in self._followed:
            return
        place = self._places[root].of(run_id)
        if self._compare or root in self._gone or not place.is_in(content):
            place = Place()
        behind = place.offset < len(content)
        if behind or run_id in self._expected or not _is_ended(content):
            self._followed[run_id] = _Record(root, place)
        self._asked.pop(run_id, None)

    def _send_record(self, run_id: str, record: _Record) -> None:
        lines = whole_lines(self._path(run_id), record.place.offset)
        if not lines:
            return
        try:
            if not (record.sure and self.runs.apply_new(run_id, sound_events(lines))):
                # From the beginning, as far as the file went when it was read.
                lines = whole_lines(self._path(run_id), 0)
                record.place = Place()
                self.runs.apply_all(run_id, list(events_in(lines, self._path(run_id))))
        except Exception as fault:
            self.runs.forget(run_id)
            record.sure = False
            if not (isinstance(fault, StorageError) or is_refusal(fault)):
                raise StoreLostError(reason_of(fault)) from fault
            record.refused = reason_of(fault)
            record.due = time.monotonic() + _PATIENCE_S
            return
        record.sure, record.refused = True, None
        record.place = record.place.after(lines)
        self._places[record.root].keep({run_id: record.place})
        if _is_ended(lines) and run_id not in self._expected:
            self._followed.pop(run_id)
            self.runs.forget(run_id)

    def _path(self, run_id: str) -> Path:
        return self._records / f"{run_id}.jsonl"


def _parent(content: bytes) -> str | None:
    """The parent that the first event of a record names."""
    first = sound_events(content[: content.find(b"\n") + 1])
    return first[0].get("parent_id") if first else None


def _is_ended(lines: bytes) -> bool:
    """Whether lines of a record end with the end of its run."""
    last = sound_events(lines[lines.rstrip(b"\n").rfind(b"\n") + 1 :])
    return bool(last) and last[0]["event"] == "end"
