"""Records on disk and, beside them, the same runs in MLflow."""

import math
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from dmu_search.config.settings import TrackingSettings
from dmu_search.errors import StorageError
from dmu_search.folders import OutputFolder, check_writable, claimed
from dmu_search.records import (
    Event,
    Recorder,
    check_records,
    collect_records,
    read_events,
    read_last_restart,
    record_files,
)
from dmu_search.tracking.mlflow_runs import MlflowRuns, connect

_EVERY_S = 1.0


@dataclass
class Tracking:
    """Where runs go: always to records, and to MLflow while it can be reached.

    Metrics come to MLflow a second late, those of a run in one request: a request costs as much
    CPU time as all else that a search does for an epoch.

    Attributes:
        recorder: what the search writes to.
        runs: MLflow's side; None with ``tracking.uri=none``.
        lost: why MLflow was given up on the way; None while it works.
    """

    recorder: Recorder
    runs: MlflowRuns | None
    lost: str | None = None
    _waiting: dict[str, list[Event]] = field(default_factory=dict, repr=False)
    _written_at: float = field(default=-math.inf, repr=False)

    def forward(self, run_id: str, event: Event) -> None:
        """Pass an event on to MLflow; a server lost on the way does not end the search."""
        if self.runs is None or self.lost is not None:
            return
        try:
            if event["event"] == "restart" or self.runs.contradict(run_id, event):
                record = self.recorder.folder / f"{run_id}.jsonl"
                self._waiting.pop(run_id, None)
                self.runs.apply_all(run_id, list(read_events(record)))
            elif event["event"] == "metrics":
                self._waiting.setdefault(run_id, []).append(event)
            else:
                self.runs.log_metrics(run_id, self._waiting.pop(run_id, []))
                self.runs.apply(run_id, event)
        except Exception as fault:
            # Whatever a database or network client raises: the event is on disk already.
            self.lost = _one_line(fault)
        self.flush()

    def flush(self) -> None:
        """Write metrics that wait, if it is a second since the last time."""
        if not self._waiting or time.monotonic() - self._written_at < _EVERY_S:
            return
        self._written_at = time.monotonic()
        if self.runs is None or self.lost is not None:
            return
        try:
            for run_id in list(self._waiting):
                self.runs.log_metrics(run_id, self._waiting.pop(run_id))
        except Exception as fault:
            self.lost = _one_line(fault)

    def catch_up(self, study: str, run_ids: Iterable[str]) -> None:
        """Bring into MLflow what a kill, or a lost server, kept out of it; twice adds nothing.

        Args:
            study: its name.
            run_ids: of its trials; those that are closed in MLflow, and whose record was not
                written anew since, are left alone.
        """
        if self.runs is None or self.lost is not None:
            return
        try:
            closed = self.runs.closed_trials(study)
            for run_id in run_ids:
                path = self.recorder.folder / f"{run_id}.jsonl"
                if not path.exists():
                    continue
                if run_id not in closed or closed[run_id] != read_last_restart(path):
                    self.runs.apply_all(run_id, list(read_events(path)))
        except StorageError:
            raise
        except Exception as fault:
            self.lost = _one_line(fault)

    def address(self, run_id: str) -> str | None:
        """MLflow's own id of a recorded run; None where it never got there."""
        return None if self.runs is None else self.runs.address(run_id)


def _one_line(fault: Exception) -> str:
    return " ".join(str(fault).split())[:200]


def open_tracking(settings: TrackingSettings, output_dir: Path) -> Tracking:
    """Records under ``output_dir`` and the MLflow store that ``settings`` names.

    Raises:
        TrackingError: the store cannot be reached.
    """
    runs = _open_runs(settings, output_dir)
    records = OutputFolder(output_dir).records
    tracking = Tracking(Recorder(records), runs)
    tracking.recorder = Recorder(records, tracking.forward)
    return tracking


def default_uri(output_dir: Path) -> str:
    """The store that is used where none is named: one SQLite file under ``output_dir``."""
    return f"sqlite:///{output_dir.resolve() / 'mlflow.db'}"


def check_tracking(settings: TrackingSettings, output_dir: Path) -> str:
    """Where runs would go, in words; creates nothing.

    Raises:
        TrackingError: the store cannot be reached.
        StorageError: its file cannot be made.
    """
    if settings.uri == "none":
        return f"records only, in {OutputFolder(output_dir).records}"
    uri = settings.uri or default_uri(output_dir)
    file = uri.removeprefix("sqlite:///")
    if file != uri and not Path(file).exists():
        check_writable(Path(file))
        return f"{uri}, made by the first study"
    # While another command makes the store, its tables are half there.
    making = output_dir / "mlartifacts"
    with claimed(making, wait=True) if making.is_dir() else nullcontext():
        connect(uri)
    return f"{uri} answers"


def sync_records(folder: Path, settings: TrackingSettings, *, output_dir: Path) -> int:
    """Bring the records in ``folder`` into MLflow; done twice, it changes nothing.

    Records from elsewhere are copied to those of ``output_dir`` too, where tables and figures are
    made from. All are checked before anything is written.

    Returns:
        The number of runs.

    Raises:
        TrackingError: the store cannot be reached.
        StorageError: records are damaged, or of other runs than those of their names there.
    """
    check_records(folder, OutputFolder(output_dir).records)
    runs = _open_runs(settings, output_dir)
    if runs is None:
        return 0
    collect_records(folder, OutputFolder(output_dir).records)
    records = {path.stem: list(read_events(path)) for path in record_files(folder)}
    # Parents first: a trial's run names its study's.
    for run_id, events in sorted(records.items(), key=lambda item: _is_child(item[1])):
        if events:
            runs.apply_all(run_id, events)
    return len(records)


def _is_child(events: list[Event]) -> bool:
    return bool(events) and events[0].get("parent_id") is not None


def _open_runs(settings: TrackingSettings, output_dir: Path) -> MlflowRuns | None:
    if settings.uri == "none":
        return None
    uri = settings.uri or default_uri(output_dir)
    # Two commands that make one store at a time would each find the other's half-made tables.
    with claimed(output_dir / "mlartifacts", wait=True):
        return MlflowRuns(uri, settings.experiment, artifact_root=output_dir / "mlartifacts")
