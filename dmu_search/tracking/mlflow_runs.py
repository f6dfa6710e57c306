"""Run events written to an MLflow store or server.

Ray's own MLflow callback duplicates every run on restore, leaves the old ones running, logs
diverged trials as finished and makes no parent run; here a run is found again by its id.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from dmu_search.errors import TrackingError
from dmu_search.records import Event, last_restart, without_void
from dmu_search.tracking.known_points import KnownPoints, is_telling, same_value

if TYPE_CHECKING:
    # MLflow takes a second to import: only where it is used.
    from mlflow import MlflowClient

# Seconds until a server counts as lost; MLflow's own defaults block for many minutes. It does not
# try again by itself: a request without an answer may have done its work, so we look first.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
# The default store is migrated without a page of log lines, and its faults are said once, by us.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")

RUN_ID_TAG = "dmu_search.run_id"
KIND_TAG = "dmu_search.kind"
# When its training last began again.
_RESTART_TAG = "dmu_search.restarted_ms"
# Without it MLflow 3 shows its pages for language models.
_VIEW = "workflowType=machine_learning"
SERVERS = ("http", "https", "databricks")
# MLflow's words for what is wrong with a request and not with the store.
_REFUSALS = (
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
)
_BATCH = 1000  # metrics in one request, MLflow's limit


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
        # The values that were last written of a run, with their step.
        self._last: dict[str, tuple[int, Mapping[str, float]]] = {}

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

    def log_metrics(self, run_id: str, events: Sequence[Event]) -> None:
        """Write ``metrics`` events in few requests; what is there already is left out.

        Raises:
            mlflow.exceptions.MlflowException: the store cannot be written.
            TrackingError: the run was never started.
        """
        from mlflow.entities import Metric

        known = self._known.get(run_id)
        metrics = [
            Metric(name, value, event["time_ms"], event["step"])
            for event, values in self._said_once(run_id, events)
            if known is None or not known.have(event)
            for name, value in values
        ]
        for begin in range(0, len(metrics), _BATCH):
            self._client.log_batch(self._own(run_id), metrics=metrics[begin : begin + _BATCH])

    def _said_once(
        self, run_id: str, events: Iterable[Event]
    ) -> Iterator[tuple[Event, list[tuple[str, float]]]]:
        """Each event with its values, less those that the one before it has of the same step.

        A run's summary repeats what was best after its last epoch. The values that tell an event
        from others come last, so that where they have arrived, the others have.
        """
        for event in events:
            step, before = self._last.get(run_id, (None, {}))
            if step != event["step"]:
                before = {}
            new = [
                (name, value)
                for name, value in event["values"].items()
                if name not in before or not same_value(before[name], value)
            ]
            self._last[run_id] = event["step"], {**before, **event["values"]}
            yield event, sorted(new, key=lambda each: is_telling(each[0]))

    def apply_new(self, run_id: str, events: Sequence[Event]) -> bool:
        """Write events that follow those written; metrics that come together in one request.

        Returns:
            False if the run has to be written anew from its whole record, by ``apply_all``.

        Raises:
            mlflow.exceptions.MlflowException: the store cannot be written.
            TrackingError: the run was never started.
        """
        waiting: list[Event] = []
        for event in events:
            if event["event"] == "restart" or self.contradict(run_id, event):
                return False
            if event["event"] == "metrics":
                waiting.append(event)
                continue
            self.log_metrics(run_id, waiting)
            waiting.clear()
            self.apply(run_id, event)
        self.log_metrics(run_id, waiting)
        return True

    def forget(self, run_id: str) -> None:
        """Look again, before the next write, what MLflow has of a run."""
        for memory in (self._runs, self._known, self._last):
            memory.pop(run_id, None)

    def apply_all(self, run_id: str, events: list[Event]) -> None:
        """Write a whole record, its metrics in few requests; twice, it changes nothing.

        MLflow cannot take back what a training that began again made void. So a run that is there
        from before that is deleted, in MLflow's way that can be undone, and written anew.
        """
        restart, kept = last_restart(events), without_void(events)
        self._last.pop(run_id, None)
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
        self.forget(run_id)

    def address(self, run_id: str) -> str | None:
        """The run's id in MLflow, which its page's address ends with; None if it is not there."""
        if run_id not in self._runs:
            found = self._find(run_id)
            if found is None:
                return None
            self._runs[run_id] = found
            self._known[run_id] = KnownPoints(partial(self._history, found))
        return self._runs[run_id]

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
        served = urlparse(self.uri).scheme in SERVERS
        location = None if served else artifact_root.resolve().as_uri()
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(name, artifact_location=location, tags=tags))

    def identity(self) -> str:
        """What tells the experiment from another one that has its place: its number and birth."""
        found = self._client.get_experiment(self.experiment_id)
        return f"{self.experiment_id} of {found.creation_time}"

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
    try:
        import mlflow

        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    except AttributeError:
        # The repository's folder mlflow/ imports as an empty package where MLflow is missing.
        raise TrackingError(
            "MLflow is not installed; install it, or set tracking.uri=none"
        ) from None
    except Exception as fault:
        raise unusable(uri, fault) from None
    return client


def unusable(uri: str, fault: Exception) -> TrackingError:
    """The error for a store that cannot be reached, with the way out."""
    reason = reason_of(fault)
    if re.search(r"error code 40[13]\b|password authentication failed", reason):
        return TrackingError(
            f"tracking.uri={uri}: refuses this user ({reason}); for a server, set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; for a database, put them "
            "into the address"
        )
    return TrackingError(
        f"tracking.uri={uri}: cannot be used ({reason}); start the server or check the "
        "address, or set tracking.uri=none and bring the records in later with sync"
    )


def is_refusal(fault: Exception) -> bool:
    """Whether the store answered, and does not take what it was given."""
    return isinstance(fault, TrackingError) or getattr(fault, "error_code", None) in _REFUSALS


def reason_of(fault: Exception) -> str:
    """What lies below an error of MLflow's, in a line."""
    cause: BaseException = fault
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    text = " ".join(str(cause).split()) or type(cause).__name__
    return text if len(text) < 200 else text[:197] + "..."
