"""Tune's events as recorded runs and as news for the watcher, on the driver only."""

import math
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from dmu_search.errors import StorageError
from dmu_search.records import RunStart
from dmu_search.study.files import Study
from dmu_search.tracking import Tracking
from dmu_search.tune.progress import TrialView, Watcher
from dmu_search.tune.searcher import OBJECTIVE, StudySearcher

_STATUS_OF_RUN = {
    "finished": "FINISHED",
    "stopped early": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}


def trial_run_id(study_name: str, trial_id: str) -> str:
    """The id of a trial's recorded run, the same after a resume."""
    return f"{study_name}.{trial_id}"


class StudyCallback(tune.Callback):
    """Records each trial as a run under the study's run.

    Args:
        study: its run is the parent.
        tracking: where runs go.
        watcher: told of every change.
        searcher: keeps a finished trial's summary for whoever reads the study later.

    Attributes:
        must_be_restored: whether the search goes on with an earlier one.
    """

    def __init__(
        self, study: Study, tracking: Tracking, watcher: Watcher, searcher: StudySearcher
    ) -> None:
        self._study_name = study.name
        self._tags = {
            "study": study.name,
            "task": study.settings.task,
            "model": study.settings.model,
            "depth": str(study.settings.depth),
        }
        self._recorder = tracking.recorder
        self._watcher = watcher
        self._searcher = searcher
        self._open: dict[str, Trial] = {}
        self.must_be_restored = False

    def setup(self, *_: Any, **__: Any) -> None:
        """Refuse a search that Tune quietly began anew because it could not read its state."""
        if self.must_be_restored and not self._searcher.restored:
            raise StorageError(
                f"study {self._study_name}: its saved state cannot be read; restore the folder "
                "from a backup, or start a new study"
            )
        if self.must_be_restored:
            self._close_lost_runs()

    def _close_lost_runs(self) -> None:
        """Close runs of trials that began after the last snapshot before a kill.

        The study knows nothing of them and proposes their settings anew.
        """
        known = {trial_run_id(self._study_name, i) for i in self._searcher.study.trial_ids}
        for run_id in self._recorder.unfinished(f"{self._study_name}."):
            if run_id not in known:
                self._recorder.tag(run_id, {"outcome": "lost"})
                self._recorder.end(run_id, "KILLED")

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Open the trial's run, or go on with it."""
        self._start(trial)
        self._watcher.update(_view(trial, "running", trial.last_result))

    def _start(self, trial: Trial) -> None:
        config = trial.config
        tags = {**self._tags, "trial_number": str(config["number"])}
        if config["warm_start"] is not None:
            tags["warm_start"] = config["warm_start"]
        self._recorder.start(
            RunStart(
                run_id=self._run_id(trial),
                name=f"trial {config['number']:03d}",
                kind="trial",
                parent_id=self._study_name,
                params=config["values"],
                tags=tags,
            )
        )
        self._open[trial.trial_id] = trial

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **_: Any,
    ) -> None:
        """Record an epoch in one write."""
        run_id = self._run_id(trial)
        metrics = {OBJECTIVE: result[OBJECTIVE], **result["metrics"]}
        self._recorder.log(run_id, metrics, result["training_iteration"])
        if result["summary"]:
            self._recorder.summarise(run_id, result["summary"])
            self._searcher.study.annotate(trial.trial_id, {"summary": result["summary"]})
        if result["problem"]:
            self._recorder.tag(run_id, {"problem": result["problem"]})
        self._watcher.update(_view(trial, "running", result))

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        """Close the run of a trial that ended by itself or was stopped early."""
        result = trial.last_result
        if result["diverged"]:
            outcome = "diverged"
        else:
            outcome = "finished" if result["finished"] else "stopped early"
        self._close(trial, outcome)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Close the run of a trial that raised or lost its process, perhaps before it began."""
        if trial.trial_id not in self._open:
            self._start(trial)
        self._close(trial, "failed", _error_of(trial))

    def close_open_runs(self) -> None:
        """Mark what an interrupt left open; a resume opens it again."""
        for trial in list(self._open.values()):
            self._close(trial, "interrupted")

    def _close(self, trial: Trial, outcome: str, error: str | None = None) -> None:
        run_id = self._run_id(trial)
        if self._open.pop(trial.trial_id, None) is None:
            return
        tags = {"outcome": outcome} | ({"error": error} if error else {})
        self._recorder.tag(run_id, tags)
        self._recorder.end(run_id, _STATUS_OF_RUN[outcome])
        self._watcher.update(_view(trial, outcome, trial.last_result, error))

    def _run_id(self, trial: Trial) -> str:
        return trial_run_id(self._study_name, trial.trial_id)


def _view(
    trial: Trial, status: str, result: dict[str, Any] | None, error: str | None = None
) -> TrialView:
    result = result or {}
    objective = result.get(OBJECTIVE)
    return TrialView(
        number=trial.config["number"],
        status=status,
        epoch=result.get("training_iteration", 0),
        objective=objective if objective is not None and math.isfinite(objective) else None,
        values=dict(trial.config["values"]),
        warm_start=trial.config["warm_start"],
        epoch_wall_time_s=result.get("metrics", {}).get("epoch_wall_time_s"),
        error=error,
        problem=result.get("problem"),
    )


def _error_of(trial: Trial) -> str:
    fault = trial.get_error()
    cause = getattr(fault, "cause", None) or fault
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[-1] if lines else 'no message'}"[:300]
