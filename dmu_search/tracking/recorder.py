"""Records on disk and, beside them, the same runs in MLflow."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dmu_search.errors import StorageError, TrackingError
from dmu_search.folders import OutputFolder
from dmu_search.records import (
    Event,
    Recorder,
    check_records,
    collect_records,
    record_files,
)
from dmu_search.tracking.mlflow_runs import is_refusal, reason_of, unusable
from dmu_search.tracking.sending import Sending, StoreLostError
from dmu_search.tracking.store import Store, check_address, default_uri, is_server, store_of

if TYPE_CHECKING:
    # Settings bring torch along, which the process that sends has no use for.
    from dmu_search.config.settings import TrackingSettings

# For MLflow to be imported and a store to be made, on a machine with much else to do.
_OPENED_WITHIN_S = 300.0
# For what is left at the end, and for a page in the middle.
SETTLED_WITHIN_S = 30.0
_FOUND_WITHIN_S = 20.0
# More than a process beside takes for what is left of a command that was killed.
_CLAIMED_WITHIN_S = 90.0


@dataclass(frozen=True)
class Page:
    """A run in MLflow.

    Attributes:
        mlflow_id: MLflow's own id.
        path: of its page, less the server's own part.
    """

    mlflow_id: str
    path: str


@dataclass(frozen=True)
class Unsent:
    """What MLflow does not have yet.

    Attributes:
        runs: how many have something that it lacks.
        reason: why, in words.
    """

    runs: int
    reason: str


class Tracking:
    """Where runs go: to records, by this process, and from there to MLflow, by one beside it.

    A request to MLflow costs as much CPU time as all else that a search does for an epoch, and a
    server may be gone for a while. So this process only names the runs; the other one follows their
    records, keeps its place in them, and tries again until MLflow has every point once.

    Args:
        records: their folder.
        uri: of the store; None for records only.
        sender: the process beside, if there is a store.

    Attributes:
        recorder: what the search writes to.
        uri: as given.
        settled: whether it has been waited for what MLflow lacks.
    """

    def __init__(self, records: Path, uri: str | None, *, sender: "_Process | None") -> None:
        self.recorder = Recorder(records, self._name_run)
        self.uri = uri
        self._sender = sender
        self._begun = False
        self._there = True
        self._fault: str | None = None
        self.settled = False
        self._said: list[str] = []

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_server(self) -> bool:
        """Whether the runs are on a server, which serves their pages; else in a store's file."""
        return self.uri is not None and is_server(self.uri)

    def check(self) -> None:
        """Wait until the store has answered; creates nothing.

        Raises:
            TrackingError: it cannot be reached.
        """
        self._there = self._demand("check", "checked")

    def begin(self, tasks: Iterable[str] = ()) -> None:
        """Make what the store lacks, and send from now on.

        A store that ``check`` found still to be made takes MLflow seconds. It is not waited for;
        should it fail, ``news`` has it.

        Args:
            tasks: whose runs are to come.

        Raises:
            TrackingError: the store cannot be used, or the experiment of a task is deleted.
            StorageError: its folder cannot be written.
        """
        words = {"tasks": list(dict.fromkeys(tasks))}
        if self._there:
            self._demand("open", "opened", **words)
        elif self._sender is not None:
            self._sender.tell("open", **words)
        self._begun = True

    def follow(self, run_ids: Iterable[str]) -> None:
        """Have MLflow follow these records, which another process writes, now or later."""
        for run_id in run_ids:
            if self._sender is not None:
                self._sender.tell("follow", run=run_id, expected=True)

    def news(self) -> list[str]:
        """What the user has to know of MLflow since the last call, a sentence each; waits never."""
        if self._sender is not None:
            for message in self._sender.heard(0.0):
                self._take(message)
        said, self._said = self._said, []
        return said

    def page(self, run_id: str) -> Page | None:
        """A run in MLflow; None where it has not got there."""
        return self.pages([run_id]).get(run_id)

    def pages(self, run_ids: Sequence[str]) -> dict[str, Page]:
        """Those of the runs that are in MLflow."""
        found = self._ask("find", "found", runs=list(run_ids), within_s=_FOUND_WITHIN_S)
        return {run_id: Page(*each) for run_id, each in (found or {}).items()}

    def views(self, task: str) -> dict[str, str]:
        """Pages of a task's experiment, less the server's own part, by name; none if it is away."""
        return self._ask("views", "views", task=task, within_s=_FOUND_WITHIN_S) or {}

    def settle(self, within_s: float = SETTLED_WITHIN_S) -> Unsent | None:
        """Wait until MLflow has everything, or the time is over; returns what it lacks then."""
        self.settled = True
        if self._sender is None or not self._begun:
            return None
        left = self._ask("settle", "settled", within_s=within_s)
        if left is None:
            return Unsent(0, "the process that writes to it has ended")
        if self._fault is not None:
            return Unsent(0, self._fault)
        reason = left["lost"] or "it did not take them in time"
        return Unsent(left["unsent"], reason) if left["unsent"] else None

    def close(self) -> None:
        """Let the process beside end; where it has not settled, it goes on for a while alone.

        What MLflow lacks then, a resume or ``sync`` brings in.
        """
        if self._sender is not None:
            self._sender.end(alone=self._begun and not self.settled)
            self._sender = None

    def _name_run(self, run_id: str, event: Event) -> None:
        # Tags and models may come to a run that has ended, and is not followed any more.
        if event["event"] not in ("metrics", "end") and self._sender is not None:
            self._sender.tell("follow", run=run_id, expected=False)

    def _demand(self, what: str, answer: str, **words: object) -> Any:
        if self._sender is None:
            return None
        said = self._ask(what, answer, within_s=_OPENED_WITHIN_S, **words)
        if said is None:
            raise TrackingError(
                f"tracking.uri={self.uri}: the process that writes to it ended without an answer; "
                "set tracking.uri=none and bring the records in later with sync"
            )
        if said["fault"] is not None:
            kind = StorageError if said["kind"] == "StorageError" else TrackingError
            raise kind(said["fault"])
        return said["result"]

    def _ask(self, what: str, answer: str, *, within_s: float, **words: object) -> Any:
        """What the process beside answers; None if it is gone, or takes much longer than it may."""
        if self._sender is None:
            return None
        self._sender.tell(what, within_s=within_s, **words)
        deadline = time.monotonic() + within_s + 60.0
        while (left_s := deadline - time.monotonic()) > 0 and not self._sender.is_gone:
            answered = []
            for message in self._sender.heard(left_s):
                if message["is"] == answer:
                    answered.append(message["what"])
                else:
                    self._take(message)
            if answered:
                return answered[0]
        return None

    def _take(self, message: Mapping[str, Any]) -> None:
        what = message["what"]
        match message["is"]:
            case "lost":
                self._said.append(
                    f"MLflow at {self.uri} does not answer ({what}); the search goes on, and what "
                    "MLflow misses comes in when it is back"
                )
            case "back":
                self._said.append(f"MLflow at {self.uri} is back and has what it missed")
            case "refused":
                self._said.append(f"MLflow does not take {what}; its record is whole")
            case "failed":
                self._lose(what)
            case "opened" if what["fault"] is not None:
                self._lose(what["fault"])

    def _lose(self, fault: str) -> None:
        self._fault = fault
        self._said.append(f"nothing more is written to MLflow ({fault}); the records are whole")


class _Process:
    """The process beside, and the lines to and from it.

    Args:
        settings: of ``dmu_search.tracking.sender.Store``.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        # In a session of its own, so that a Ctrl-C does not reach it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dmu_search.tracking.sender", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.is_gone = False
        self._half = b""
        assert self._process.stdout is not None, "it was started with a pipe"
        self._poll = select.poll()
        self._poll.register(self._process.stdout)

    def tell(self, what: str, **words: object) -> None:
        """Say something; where nobody listens any more, ``heard`` tells."""
        assert self._process.stdin is not None, "it was started with a pipe"
        with suppress(OSError):
            self._process.stdin.write(json.dumps({"do": what, **words}).encode() + b"\n")
            self._process.stdin.flush()

    def heard(self, within_s: float) -> list[dict[str, Any]]:
        """What it said, as soon as it has said something; nothing once it is gone."""
        assert self._process.stdout is not None, "it was started with a pipe"
        said = b""
        if self._poll.poll(1000 * within_s):
            said = os.read(self._process.stdout.fileno(), 2**16)
            self.is_gone = not said
        *lines, self._half = (self._half + said).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self, *, alone: bool) -> None:
        """Let it end.

        Args:
            alone: whether it first writes what is left, for a bounded time, and nobody waits.
        """
        assert self._process.stdin is not None, "it was started with a pipe"
        if not alone:
            # It writes nothing at this moment.
            self._process.kill()
            self._process.wait()
        with suppress(OSError):
            self._process.stdin.close()


def open_tracking(settings: "TrackingSettings", output_dir: Path) -> Tracking:
    """Records under ``output_dir``, and a process that brings them into the store of ``settings``.

    It returns at once: the process takes a second or two to import MLflow. ``check`` and ``begin``
    wait for it.

    Raises:
        TrackingError: an address that cannot be right, or where nobody answers.
        StorageError: the store's file cannot be made.
    """
    records = OutputFolder(output_dir).records
    if settings.uri == "none":
        return Tracking(records, None, sender=None)
    uri = settings.uri or default_uri(output_dir)
    check_address(uri)
    words = {"uri": uri, "experiment": settings.experiment, "output_dir": str(output_dir.resolve())}
    return Tracking(records, uri, sender=_Process(words))


def check_tracking(settings: "TrackingSettings", output_dir: Path) -> str:
    """Where runs would go, in words; creates nothing.

    Raises:
        TrackingError: the store cannot be reached.
        StorageError: its file cannot be made.
    """
    if settings.uri == "none":
        return f"records only, in {OutputFolder(output_dir).records}"
    store = store_of(settings, output_dir)
    check_address(store.uri)
    return f"{store.uri} answers" if store.check() else f"{store.uri}, made by the first study"


def sync_records(
    folder: Path, settings: "TrackingSettings", *, output_dir: Path
) -> Mapping[str, str]:
    """Bring the records in ``folder`` into MLflow; done twice, it changes nothing.

    Records from elsewhere are copied to those of ``output_dir`` too, where tables and figures are
    made from. All are checked before anything is written.

    Returns:
        The runs that MLflow does not take, and why; it has all others.

    Raises:
        TrackingError: the store cannot be reached.
        StorageError: records are damaged, or of other runs than those of their names there.
    """
    check_records(folder, OutputFolder(output_dir).records)
    if settings.uri == "none":
        return {}
    store = store_of(settings, output_dir)
    run_ids = [path.stem for path in record_files(folder)]
    with closing(Sending(store, compare=True)) as sending:
        collect_records(folder, OutputFolder(output_dir).records)
        for run_id in run_ids:
            sending.follow(run_id)
        # The process beside a search that was killed may be writing what is left.
        deadline = time.monotonic() + _CLAIMED_WITHIN_S
        while _send(sending, store):
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{folder}: another process brings runs of these studies into MLflow; wait "
                    "for it or end it"
                )
            time.sleep(1.0)
        return sending.refused()


def bring_in(
    runs: Mapping[str, list[Event]], settings: "TrackingSettings", *, output_dir: Path
) -> Mapping[str, str]:
    """Bring runs that have no record of their own into MLflow; done twice, it changes nothing.

    Args:
        runs: id -> events, as a record has them.
        settings: of the store.
        output_dir: of the default store.

    Returns:
        The runs that MLflow does not take, and why; it has all others.

    Raises:
        TrackingError: the store cannot be reached.
        StorageError: its file cannot be made.
    """
    store = store_of(settings, output_dir)
    there = store.open()
    refused = {}
    for run_id, events in runs.items():
        try:
            there.apply_all(run_id, events)
        except Exception as fault:  # Whatever a database or network client raises.
            if not is_refusal(fault):
                raise unusable(store.uri, fault) from None
            refused[run_id] = reason_of(fault)
    return refused


def _send(sending: Sending, store: Store) -> set[str]:
    """Send once; returns the runs that MLflow lacks and does not refuse."""
    try:
        sending.send()
    except StoreLostError as fault:
        raise unusable(store.uri, fault) from None
    return set(sending.unsent()) - set(sending.refused())
