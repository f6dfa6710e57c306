"""Run events written to an MLflow store or server.

Ray's own MLflow callback duplicates every run on restore, leaves the old ones running, logs
diverged trials as finished and makes no parent run; here a run is found again by its id.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from dmu_search.errors import TrackingError
from dmu_search.names import TASKS
from dmu_search.records import Event, last_restart, without_void
from dmu_search.tracking.known_points import KnownPoints
from dmu_search.tracking.models import log_model
from dmu_search.tracking.trial_runs import FIXED
from dmu_search.tracking.views import CHARTS, TABLE, view_tags

if TYPE_CHECKING:
    # MLflow takes a second to import: only where it is used.
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

# Seconds and tries until a server counts as lost; MLflow's own defaults block for many minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
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
_SERVERS = ("http", "https", "databricks")
_BATCH = 1000  # metrics in one request, MLflow's limit
_PAGE = 1000  # runs in one answer
_OPEN = ("RUNNING", "SCHEDULED")


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
        self._check_not_deleted()
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
                self._log_artifact(run_id, Path(event["path"]))
            case "model" if Path(event["path"]).is_dir():
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
            for name, value in with_bands(event["values"]).items()
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
            if over or event["event"] in ("tags", "artifact", "model"):
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
                self._own_experiments(),
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
            mlflow_id = str(found.info.run_id)
            self._runs[run_id] = mlflow_id
            revised = found.data.tags.get(KIND_TAG) == "study"
            self._known[run_id] = KnownPoints(partial(self._history, mlflow_id), revised=revised)
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
        return f"/#/experiments/{self._experiment_of(mlflow_id)}/runs/{mlflow_id}?{_VIEW}"

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

    def _named(self, prefix: str, **more: Any) -> "list[Experiment]":
        found = self._client.search_experiments(filter_string=f"name LIKE '{prefix}%'", **more)
        names = {prefix, *(experiment_name(prefix, task) for task in TASKS)}
        return [each for each in found if each.name in names]

    def _check_not_deleted(self) -> None:
        from mlflow.entities import ViewType

        for each in self._named(self._prefix, view_type=ViewType.DELETED_ONLY):
            raise TrackingError(
                f"the MLflow experiment {each.name!r} is deleted; restore it in MLflow "
                "or choose another with tracking.experiment=NAME"
            )

    def _experiment(self, task: str | None) -> str:
        """The experiment of a task, made where it is missing."""
        name = self._prefix if task is None else experiment_name(self._prefix, task)
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            self._experiments[name] = (
                self._new_experiment(name) if found is None else str(found.experiment_id)
            )
        return self._experiments[name]

    def _new_experiment(self, name: str) -> str:
        location = None if self.is_server else self._artifact_root.resolve().as_uri()
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(name, artifact_location=location, tags=tags))

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
        views = view_tags(tags["objective"], tags["task"], columns=list(all_of_them), axes=axes)
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
