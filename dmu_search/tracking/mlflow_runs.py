"""Run events written to an MLflow store or server.

Ray's own MLflow callback duplicates every run on restore, leaves the old ones running, logs
diverged trials as finished and makes no parent run; here a run is found again by its id.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from dmu_search.errors import TrackingError
from dmu_search.names import TASKS
from dmu_search.records import Event, last_restart, without_void
from dmu_search.tracking.known_points import KnownPoints, is_telling, same_value
from dmu_search.tracking.names import FIXED
from dmu_search.tracking.views import CHARTS, TABLE, view_tags

if TYPE_CHECKING:
    # MLflow takes a second to import: only where it is used.
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

# Seconds until a server counts as lost; MLflow's own defaults block for many minutes. It does not
# try again by itself: a request without an answer may have done its work, so we look first.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
# The default store is migrated without a page of log lines, and its faults are said once, by us.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

RUN_ID_TAG = "dmu_search.run_id"
KIND_TAG = "dmu_search.kind"
# Keys that any study of an experiment searched.
_SEARCHED_TAG = "dmu_search.searched"
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
    """Writes run events to MLflow, to an experiment per task.

    Args:
        uri: of the store (``sqlite:///..``, ``postgresql://..``) or server (``http(s)://..``).
        experiment: beginning of the names of its experiments, one per task; each is created with
            its first run. Runs of earlier versions are in one experiment of just this name.
        artifact_root: folder of artifacts of a new experiment in a local store.

    Raises:
        TrackingError: MLflow is missing, or the store cannot be reached.
    """

    def __init__(self, uri: str, experiment: str, *, artifact_root: Path) -> None:
        self.uri = uri
        self._client = connect(uri)
        self._prefix = experiment
        self._artifact_root = artifact_root
        self._experiments: dict[str, str] = {}
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
                self._log_artifact(run_id, Path(event["path"]))
            case "model" if Path(event["path"]).is_dir():
                # It needs torch, which takes long to import.
                from dmu_search.tracking.models import log_model

                log_model(
                    self._client,
                    self._own(run_id),
                    folder=Path(event["path"]),
                    name=event["name"],
                    tags=event["tags"],
                )
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
            values = with_bands(event["values"])
            new = [
                (name, value)
                for name, value in values.items()
                if name not in before or not same_value(before[name], value)
            ]
            self._last[run_id] = event["step"], {**before, **values}
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
        models = [index for index, event in enumerate(kept) if event["event"] == "model"]
        for index, event in enumerate(kept):
            # An end before the last start is that of a process which was interrupted.
            over = event["event"] == "end" and index > starts[-1]
            # A later model takes the place of an earlier one.
            if over or index in models[-1:] or event["event"] in ("tags", "artifact"):
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
            mlflow_id = str(found.info.run_id)
            self._runs[run_id] = mlflow_id
            revised = found.data.tags.get(KIND_TAG) == "study"
            self._known[run_id] = KnownPoints(partial(self._history, mlflow_id), revised=revised)
        return self._runs[run_id]

    def page(self, run_id: str) -> str | None:
        """Address of a run's page, less the server's own part; None if the run is not there."""
        mlflow_id = self.address(run_id)
        if mlflow_id is None:
            return None
        return f"/#/experiments/{self._experiment_of(mlflow_id)}/runs/{mlflow_id}?{_VIEW}"

    def check_experiment(self, task: str) -> None:
        """Find out whether runs of a task can be written; creates nothing.

        Raises:
            TrackingError: the task's experiment is deleted.
        """
        self._existing(experiment_name(self._prefix, task))

    def views(self, task: str) -> dict[str, str]:
        """Addresses, as in ``page``, of an experiment's table and charts, by name; or none."""
        name = experiment_name(self._prefix, task)
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return {}
        start = f"/#/experiments/{found.experiment_id}/runs?{_VIEW}"
        return {
            "all trials": f"{start}&compareRunsMode=TABLE&viewStateShareKey={TABLE}",
            "charts": f"{start}&compareRunsMode=CHART&viewStateShareKey={CHARTS}",
        }

    def _own(self, run_id: str) -> str:
        """MLflow's id of a run that was started, perhaps by an earlier process."""
        mlflow_id = self.address(run_id)
        if mlflow_id is None:
            raise TrackingError(f"{run_id}: no such run in {self.uri}")
        return mlflow_id

    def _find(self, run_id: str) -> "Run | None":
        experiments = self._own_experiments()
        if not experiments:
            return None
        found = self._client.search_runs(
            experiments, f"tags.`{RUN_ID_TAG}` = '{run_id}'", max_results=1
        )
        return found[0] if found else None

    def _experiment_of(self, mlflow_id: str) -> str:
        return str(self._client.get_run(mlflow_id).info.experiment_id)

    def _own_experiments(self) -> list[str]:
        """Ids of all experiments of the prefix; another process may have made one since."""
        return [each.experiment_id for each in self._named(self._prefix)]

    def _named(self, prefix: str) -> "list[Experiment]":
        found = self._client.search_experiments(filter_string=f"name LIKE '{prefix}%'")
        names = {prefix, *(experiment_name(prefix, task) for task in TASKS)}
        return [each for each in found if each.name in names]

    def _experiment(self, task: str | None) -> str:
        """The experiment of a task, made where it is missing."""
        name = self._prefix if task is None else experiment_name(self._prefix, task)
        if name not in self._experiments:
            found = self._existing(name)
            self._experiments[name] = (
                self._new_experiment(name) if found is None else str(found.experiment_id)
            )
        return self._experiments[name]

    def _existing(self, name: str) -> "Experiment | None":
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise TrackingError(
                f"the MLflow experiment {name!r} is deleted; restore it in MLflow "
                "or choose another with tracking.experiment=NAME"
            )
        return found

    def _new_experiment(self, name: str) -> str:
        served = urlparse(self.uri).scheme in SERVERS
        location = None if served else self._artifact_root.resolve().as_uri()
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(name, artifact_location=location, tags=tags))

    def identity(self) -> str:
        """What tells the store from another one that has its address: its oldest experiment."""
        from mlflow.entities import ViewType

        (oldest,) = self._client.search_experiments(
            view_type=ViewType.ALL, order_by=["creation_time ASC"], max_results=1
        )
        return f"{oldest.experiment_id} of {oldest.creation_time}"

    def _start(self, run_id: str, event: Event) -> None:
        tags = {RUN_ID_TAG: run_id, KIND_TAG: event["kind"], **event["tags"]}
        # The record of a parent may be damaged, and come later.
        parent = None if event["parent_id"] is None else self.address(event["parent_id"])
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        found = self.address(run_id)
        if found is not None and self._goes_on(run_id, event):
            self._client.update_run(found, status="RUNNING", name=event["name"])
            self._set_tags(found, tags)
            return
        if found is not None:
            # Of a study whose journal was cut back: the trial of this number is another one now.
            self._delete(run_id, found)
        # A child is where its study is, also in the one experiment of earlier versions.
        experiment = (
            self._experiment(event["tags"].get("task"))
            if parent is None
            else self._experiment_of(parent)
        )
        run = self._client.create_run(
            experiment, start_time=event["time_ms"], tags=tags, run_name=event["name"]
        )
        self._runs[run_id] = run.info.run_id
        self._log_params(run_id, event["params"])
        self._log_datasets(run_id, event.get("datasets", []))
        if "searched" in event["tags"]:
            self._write_views(experiment, event["tags"])

    def _write_views(self, experiment: str, tags: Mapping[str, str]) -> None:
        """The views fit the newest study; keys that only earlier ones searched keep a column."""
        known = self._client.get_experiment(experiment).tags
        searched = json.loads(tags["searched"])
        # A trial that lacks an axis is in no chart of parallel coordinates.
        axes = json.loads(tags.get("everywhere", tags["searched"]))
        all_of_them = dict.fromkeys([*searched, *json.loads(known.get(_SEARCHED_TAG, "[]"))])
        # Records of earlier versions do not say; a user's own task has no row in this process.
        direction = tags.get("direction") or TASKS[tags["task"]].direction
        views = view_tags(tags["objective"], direction, columns=list(all_of_them), axes=axes)
        views[_SEARCHED_TAG] = json.dumps(list(all_of_them))
        for name, value in views.items():
            if known.get(name) != value:
                self._client.set_experiment_tag(experiment, name, value)

    def _goes_on(self, run_id: str, event: Event) -> bool:
        """Whether a run that is there is the one that starts; what it lacks is added.

        Earlier versions kept the searched parameters of a trial only.
        """
        there = self._client.get_run(self._own(run_id)).data.params
        params = {name: str(value) for name, value in event["params"].items()}
        told = {name for name in {*params, *there} if not name.startswith(FIXED)}
        # Only a trial can be another one under the same id.
        if event["kind"] == "trial" and any(there.get(n) != params.get(n) for n in told):
            return False
        missing = {name: value for name, value in params.items() if name not in there}
        if missing:
            self._log_params(run_id, missing)
        return True

    def _log_artifact(self, run_id: str, path: Path) -> None:
        if path.is_dir():
            self._client.log_artifacts(self._own(run_id), str(path), artifact_path=path.name)
        elif path.exists():
            self._client.log_artifact(self._own(run_id), str(path))

    def _log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        entities = [Param(name, str(value)) for name, value in params.items()]
        self._client.log_batch(self._own(run_id), params=entities)

    def _log_datasets(self, run_id: str, datasets: Sequence[Mapping[str, str]]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=each["name"],
                    digest=each["digest"],
                    source_type=each["source_type"],
                    source=each["source"],
                    profile=each.get("profile"),
                ),
                [InputTag("mlflow.data.context", each["split"])],
            )
            for each in datasets
        ]
        if inputs:
            self._client.log_inputs(self._own(run_id), datasets=inputs)

    def _history(self, mlflow_id: str, metric: str) -> list[tuple[int, float]]:
        history = self._client.get_metric_history(mlflow_id, metric)
        return [(point.step, point.value) for point in history]

    def _set_tags(self, mlflow_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        if tags:
            entities = [RunTag(name, value) for name, value in tags.items()]
            self._client.log_batch(mlflow_id, tags=entities)


def experiment_name(prefix: str, task: str) -> str:
    """The experiment of a task."""
    return f"{prefix}-{task}"


def with_bands(values: Mapping[str, float]) -> dict[str, float]:
    """Metrics, with the lowest and highest replica of each validation metric beside them."""
    replicas: dict[str, list[float]] = {}
    for name, value in values.items():
        base, _, last = name.partition("/replica_")
        if last and base.startswith("val_"):
            replicas.setdefault(base, []).append(value)
    bands = dict(values)
    for base, all_of_them in replicas.items():
        finite = [value for value in all_of_them if math.isfinite(value)]
        if finite:
            bands |= {f"{base}/lowest": min(finite), f"{base}/highest": max(finite)}
    return bands


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
