"""A process beside a command that brings its records into MLflow.

``python -m dmu_search.tracking.sender SETTINGS`` reads a command a line from stdin and answers on
stdout, both as JSON; ``dmu_search.tracking.recorder`` is at the other end. When its stdin closes,
the command is gone: it writes what is left, for a bounded time, and ends.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from dmu_search.errors import DmuSearchError
from dmu_search.tracking.sending import Sending, StoreLostError
from dmu_search.tracking.store import Store

# Metrics wait so long for others: a request costs as much CPU time for one as for hundreds.
_EVERY_S = 1.0
# Between tries while the store does not answer, each twice the one before.
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
# For what is left when the command is gone.
_FAREWELL_S = 60.0

Say = Callable[[str, Any], None]


class Sender:
    """Sends every second, and again and again while the store does not answer.

    Args:
        store: where to.
        say: tells the command something: what it is about, and what is to be said.
    """

    def __init__(self, store: Store, say: Say) -> None:
        self._store = store
        self._say = say
        self._sending: Sending | None = None
        self._lost: str | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._due = 0.0
        self._refused: set[str] = set()

    def run(self, inbox: "queue.Queue[Mapping[str, Any] | None]") -> None:
        """Do what comes in, until the command is gone."""
        while True:
            message = self._next(inbox)
            if message is None:
                self._settle(_FAREWELL_S)
                return
            match message["do"]:
                case "nothing":
                    self._send_if_due()
                case "check":
                    self._answer("checked", self._store.check)
                case "open":
                    self._answer("opened", partial(self._open, message["tasks"]))
                case "follow" if self._sending is not None:
                    self._sending.follow(message["run"], expected=message["expected"])
                case "settle":
                    self._settle(message["within_s"])
                    self._say("settled", {"unsent": len(self._unsent()), "lost": self._lost})
                case "find":
                    self._settle(message["within_s"], lost_at_once=True)
                    self._say("found", self._find(message["runs"]))
                case "views":
                    self._say("views", self._views(message["task"]))

    def _next(self, inbox: "queue.Queue[Mapping[str, Any] | None]") -> Mapping[str, Any] | None:
        idle = self._sending is None
        try:
            return inbox.get(timeout=None if idle else max(0.0, self._due - time.monotonic()))
        except queue.Empty:
            return {"do": "nothing"}

    def _answer(self, name: str, act: Callable[[], object]) -> None:
        try:
            result = act()
        except DmuSearchError as fault:
            self._say(name, {"fault": str(fault), "kind": type(fault).__name__})
        else:
            self._say(name, {"fault": None, "result": result})

    def _open(self, tasks: Iterable[str]) -> None:
        if self._sending is None:
            self._sending = Sending(self._store)
        for task in tasks:
            self._sending.runs.check_experiment(task)

    def _send_if_due(self) -> None:
        if time.monotonic() >= self._due:
            self._send()

    def _send(self) -> None:
        if self._sending is None:
            return
        try:
            self._sending.send()
        except StoreLostError as fault:
            if self._lost is None:
                self._say("lost", str(fault))
            self._lost = str(fault)
            self._due = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            return
        if self._lost is not None:
            self._say("back", None)
        self._lost, self._pause_s = None, _FIRST_PAUSE_S
        self._due = time.monotonic() + _EVERY_S
        self._tell_refused()

    def _tell_refused(self) -> None:
        assert self._sending is not None, "it was opened"
        for run_id, reason in self._sending.refused().items():
            if run_id not in self._refused:
                self._refused.add(run_id)
                self._say("refused", f"{run_id} ({reason})")

    def _settle(self, within_s: float, *, lost_at_once: bool = False) -> None:
        """Send until nothing is left to send, or the time is over."""
        deadline = time.monotonic() + within_s
        while self._sending is not None:
            self._send()
            if not self._unsent() or (self._lost is not None and lost_at_once):
                return
            wait_s = self._due - time.monotonic() if self._lost else 0.1
            if time.monotonic() + wait_s > deadline:
                return
            time.sleep(max(0.0, wait_s))

    def _unsent(self) -> list[str]:
        return [] if self._sending is None else self._sending.unsent()

    def _find(self, run_ids: list[str]) -> dict[str, tuple[str, str]]:
        """Id in MLflow, and page, of those runs that are there."""
        if self._sending is None or self._lost is not None:
            return {}
        runs = self._sending.runs
        found: dict[str, tuple[str, str]] = {}
        for run_id in run_ids:
            # Whatever a database or network client raises: a page that is not found is not shown.
            with suppress(Exception):
                own, page = runs.address(run_id), runs.page(run_id)
                if own is not None and page is not None:
                    found[run_id] = own, page
        return found

    def _views(self, task: str) -> dict[str, str]:
        """Pages of a task's experiment, by name."""
        if self._sending is None or self._lost is not None:
            return {}
        with suppress(Exception):
            return self._sending.runs.views(task)
        return {}


def main(settings: str) -> None:
    """Be the process.

    Args:
        settings: the attributes of ``Store``, as JSON.
    """
    words = json.loads(settings)
    # Only the end of the command ends it, so that it can write what is left.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Whatever MLflow prints is no answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(name: str, what: Any) -> None:
        # Where the command is gone, nobody listens.
        with suppress(OSError):
            answers.write(json.dumps({"is": name, "what": what}) + "\n")
            answers.flush()

    inbox: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin, inbox), daemon=True).start()
    # While the command goes on; a new store is not connected to until it is begun.
    threading.Thread(target=_import_mlflow, daemon=True).start()
    store = Store(words["uri"], words["experiment"], Path(words["output_dir"]))
    try:
        Sender(store, say).run(inbox)
    except Exception as fault:  # Of the program itself; the command says it.
        say("failed", f"{type(fault).__name__}: {fault}")
    # MLflow's threads, and ours that reads, need not be waited for.
    os._exit(0)


def _import_mlflow() -> None:
    # Where it is missing, whoever connects says so.
    with suppress(ImportError):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _listen(commands: IO[str], inbox: "queue.Queue[Mapping[str, Any] | None]") -> None:
    for line in commands:
        inbox.put(json.loads(line))
    inbox.put(None)


if __name__ == "__main__":
    main(sys.argv[1])
