"""Run events written to an MLflow store or server.

Ray's own MLflow callback duplicates every run on restore, leaves the old ones running, logs
diverged trials as finished and makes no parent run; here a run is found again by its id.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from dmu_search.errors import TrackingError
from dmu_search.records import Event, last_restart, without_void
from dmu_search.tracking.known_points import KnownPoints

if TYPE_CHECKING:
    # MLflow takes a second to import: only where it is used.
    from mlflow import MlflowClient

# Seconds and tries until a server counts as lost; MLflow's own defaults block for many minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
# The default store is migrated without a page of log lines, and its faults are said once, by us.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")

RUN_ID_TAG = "dmu_search.run_id"
KIND_TAG = "dmu_search.kind"
# When its training last began again.
_RESTART_TAG = "dmu_search.restarted_ms"
# Without it MLflow 3 shows its pages for language models.
_VIEW = "workflowType=machine_learning"
_SERVERS = ("http", "https", "databricks")
_BATCH = 1000  # metrics in one request, MLflow's limit
_PAGE = 1000  # runs in one answer
_OPEN = ("RUNNING", "SCHEDULED")


class MlflowRuns:
    """Writes run events to one MLflow experiment.

    Args:
        uri: of the store (``sqlite:///..``, ``postgresql://..``) or server (``http(s)://..``).
        experiment: its name; created where it is missing.
        artifact_root: folder of artifacts of a new experiment in a local store.

    Raises:
        TrackingError: MLflow is missing, or the store cannot be reached.
    """

    def __init__(self, uri: str, experiment: str, *, artifact_root: Path) -> None:
        self.uri = uri
        self._client = connect(uri)
        self.experiment_id = self._experiment(experiment, artifact_root)
        self._runs: dict[str, str] = {}
        # Of the runs that were there before.
        self._known: dict[str, KnownPoints] = {}

    def apply(self, run_id: str, event: Event) -> None:
        """Write one event; a repeated one changes nothing.

        Raises:
            mlflow.exceptions.MlflowException: the store cannot be written.
            TrackingError: the run was never started.
        """
        match event["event"]:
            case "start":
                self._start(run_id, event)
            case "metrics":
                self.log_metrics(run_id, [event])
            case "tags":
                self._set_tags(self._own(run_id), event["tags"])
            case "artifact":
                if Path(event["path"]).exists():
                    self._client.log_artifact(self._own(run_id), event["path"])
            case "end":
                self._client.set_terminated(
                    self._own(run_id), status=event["status"], end_time=event["time_ms"]
                )

    def log_metrics(self, run_id: str, events: list[Event]) -> None:
        """Write ``metrics`` events in few requests; what is there already is left out.

        Raises:
            mlflow.exceptions.MlflowException: the store cannot be written.
            TrackingError: the run was never started.
        """
        from mlflow.entities import Metric

        known = self._known.get(run_id)
        metrics = [
            Metric(name, value, event["time_ms"], event["step"])
            for event in events
            if known is None or not known.have(event)
            for name, value in event["values"].items()
        ]
        for begin in range(0, len(metrics), _BATCH):
            self._client.log_batch(self._own(run_id), metrics=metrics[begin : begin + _BATCH])

    def apply_all(self, run_id: str, events: list[Event]) -> None:
        """Write a whole record, its metrics in few requests; twice, it changes nothing.

        MLflow cannot take back what a training that began again made void. So a run that is there
        from before that is deleted, in MLflow's way that can be undone, and written anew.
        """
        restart, kept = last_restart(events), without_void(events)
        found = self.address(run_id)
        if found is not None and (
            self._restart(found) != restart or any(self.contradict(run_id, e) for e in kept)
        ):
            self._delete(run_id, found)
        starts = [index for index, event in enumerate(kept) if event["event"] == "start"]
        # A trial that was asked for again has other settings than at its first start.
        for index in starts[-1:]:
            self.apply(run_id, {**kept[index], "time_ms": kept[0]["time_ms"]})
        self.log_metrics(run_id, [event for event in kept if event["event"] == "metrics"])
        for index, event in enumerate(kept):
            # An end before the last start is that of a process which was interrupted.
            over = event["event"] == "end" and index > starts[-1]
            if over or event["event"] in ("tags", "artifact"):
                self.apply(run_id, event)
        if restart is not None:
            self._set_tags(self._own(run_id), {_RESTART_TAG: str(restart)})

    def contradict(self, run_id: str, event: Event) -> bool:
        """Whether an epoch is there with other results, those of another training."""
        known = self._known.get(run_id)
        return event["event"] == "metrics" and known is not None and known.contradict(event)

    def _restart(self, mlflow_id: str) -> int | None:
        return _restarted_ms(self._client.get_run(mlflow_id).data.tags)

    def _delete(self, run_id: str, mlflow_id: str) -> None:
        self._client.delete_run(mlflow_id)
        self._runs.pop(run_id, None)
        self._known.pop(run_id, None)

    def closed_trials(self, study: str) -> dict[str, int | None]:
        """Ids of the trials of a study whose runs are here and closed -> their last restart."""
        closed: dict[str, int | None] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                f"tags.study = '{study}' and tags.`{KIND_TAG}` = 'trial'",
                max_results=_PAGE,
                page_token=token,
            )
            closed |= {
                run.data.tags[RUN_ID_TAG]: _restarted_ms(run.data.tags)
                for run in page
                if run.info.status not in _OPEN
            }
            token = page.token
            if not token:
                return closed

    def address(self, run_id: str) -> str | None:
        """The run's id in MLflow, which its page's address ends with; None if it is not there."""
        if run_id not in self._runs:
            found = self._find(run_id)
            if found is None:
                return None
            self._runs[run_id] = found
            self._known[run_id] = KnownPoints(partial(self._history, found))
        return self._runs[run_id]

    @property
    def is_server(self) -> bool:
        """Whether the runs are on a server, which serves their pages; else in a store's file."""
        return urlparse(self.uri).scheme in _SERVERS

    def page(self, run_id: str) -> str | None:
        """Address of a run's page, less the server's own part; None if the run is not there."""
        mlflow_id = self.address(run_id)
        if mlflow_id is None:
            return None
        return f"/#/experiments/{self.experiment_id}/runs/{mlflow_id}?{_VIEW}"

    def _own(self, run_id: str) -> str:
        """MLflow's id of a run that was started, perhaps by an earlier process."""
        mlflow_id = self.address(run_id)
        if mlflow_id is None:
            raise TrackingError(f"{run_id}: no such run in {self.uri}")
        return mlflow_id

    def _find(self, run_id: str) -> str | None:
        found = self._client.search_runs(
            [self.experiment_id], f"tags.`{RUN_ID_TAG}` = '{run_id}'", max_results=1
        )
        return str(found[0].info.run_id) if found else None

    def _experiment(self, name: str, artifact_root: Path) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                raise TrackingError(
                    f"the MLflow experiment {name!r} is deleted; restore it in MLflow "
                    "or choose another with tracking.experiment=NAME"
                )
            return str(found.experiment_id)
        location = None if self.is_server else artifact_root.resolve().as_uri()
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(name, artifact_location=location, tags=tags))

    def _start(self, run_id: str, event: Event) -> None:
        tags = {RUN_ID_TAG: run_id, KIND_TAG: event["kind"], **event["tags"]}
        # The record of a parent may be damaged, and come later.
        parent = None if event["parent_id"] is None else self.address(event["parent_id"])
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        found = self.address(run_id)
        params = {name: str(value) for name, value in event["params"].items()}
        if found is not None and self._client.get_run(found).data.params == params:
            self._client.update_run(found, status="RUNNING")
            self._set_tags(found, tags)
            return
        if found is not None:
            # Of a study whose journal was cut back: the trial of this number is another one now.
            self._delete(run_id, found)
        run = self._client.create_run(
            self.experiment_id, start_time=event["time_ms"], tags=tags, run_name=event["name"]
        )
        self._runs[run_id] = run.info.run_id
        self._log_params(run_id, event["params"])

    def _log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        entities = [Param(name, str(value)) for name, value in params.items()]
        self._client.log_batch(self._own(run_id), params=entities)

    def _history(self, mlflow_id: str, metric: str) -> list[tuple[int, float]]:
        history = self._client.get_metric_history(mlflow_id, metric)
        return [(point.step, point.value) for point in history]

    def _set_tags(self, mlflow_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        if tags:
            entities = [RunTag(name, value) for name, value in tags.items()]
            self._client.log_batch(mlflow_id, tags=entities)


def _restarted_ms(tags: Mapping[str, str]) -> int | None:
    """When the training of a run had last begun again as it was written."""
    return int(tags[_RESTART_TAG]) if _RESTART_TAG in tags else None


def connect(uri: str) -> "MlflowClient":
    """A client of the store at ``uri`` that has answered once.

    Raises:
        TrackingError: MLflow is missing, or the store cannot be reached.
    """
    scheme = urlparse(uri).scheme
    if scheme in ("", "file"):
        raise TrackingError(
            f"tracking.uri={uri}: MLflow keeps no runs in plain folders; "
            "use sqlite:///FILE.db, http(s)://HOST:PORT, or none for records only"
        )
    try:
        import mlflow

        client = mlflow.MlflowClient(uri)
        with _first_try_counts():
            client.search_experiments(max_results=1)
    except AttributeError:
        # The repository's folder mlflow/ imports as an empty package where MLflow is missing.
        raise TrackingError(
            "MLflow is not installed; install it, or set tracking.uri=none"
        ) from None
    except Exception as fault:
        raise TrackingError(
            f"tracking.uri={uri}: cannot be used ({_reason(fault)}); start the server or check the "
            "address, or set tracking.uri=none and bring the records in later with sync"
        ) from None
    return client


@contextmanager
def _first_try_counts() -> Iterator[None]:
    """A mistyped address is told at once; later, a server gets time to come back."""
    patience = os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    try:
        yield
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = patience


def _reason(fault: Exception) -> str:
    cause: BaseException = fault
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    text = " ".join(str(cause).split()) or type(cause).__name__
    return text if len(text) < 200 else text[:197] + "..."
