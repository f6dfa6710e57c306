"""One carrier: a trainer that Ray Tune steps and re-uses for one assignment after another."""

import math
import time
from pathlib import Path
from typing import Any

from ray import tune

from dmu_search.data.loading import final_metrics, make_task
from dmu_search.engine.training.metrics import replica_metrics, summary_metrics
from dmu_search.engine.training.snapshots import resumed
from dmu_search.engine.training.trainer import EpochResult, Trainer
from dmu_search.on_ray.checkpoints import write_checkpoint
from dmu_search.on_ray.devices import assigned_device
from dmu_search.on_ray.objective import OBJECTIVE, objective_over_replicas
from dmu_search.on_ray.own_rows import unpack_own_rows
from dmu_search.study.settings import StudySettings
from dmu_search.study.trials import Checkpoint, Report


class TrainingTrial(tune.Trainable):
    """Trains the replicas of one setting, one epoch per step.

    A result holds ``report`` (what the study is told), ``checkpoint`` (one that is on disk since,
    or None) and ``problem`` (why the training runs slower than it should, or does not start where
    it was).
    """

    def setup(  # type: ignore[override]  # Tune passes what `with_parameters` was given.
        self,
        config: dict[str, Any],
        *,
        study: StudySettings,
        data: Any,
        checkpoints: Path,
        own: bytes,
    ) -> None:
        """Prepare a new actor; ``data`` is shared by all trials of the study."""
        unpack_own_rows(own)
        self._study = study
        self._data = data
        self._folder = checkpoints
        self._device = assigned_device()
        self._task = make_task(study.task, data, device=self._device)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another assignment in this actor; its data stays loaded."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train and validate one epoch."""
        # A trial that was killed between its last epoch and the report of it is trained already.
        result = self._trainer.standing if self._trainer.finished else self._trainer.run_epoch()
        report = self._report(result)
        return {
            OBJECTIVE: report.objective,
            "report": report,
            "checkpoint": self._checkpoint(report),
            "problem": self._trainer.problem or self._problem,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: checkpoints are the study's own."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: checkpoints are the study's own."""

    def _begin(self, config: dict[str, Any]) -> None:
        self._number: int = config["number"]
        self._pauses_at: tuple[int, ...] = config["pauses_at"]
        settings = self._study.run(config["values"])

        def new() -> Trainer:
            return Trainer(self._task, settings.network, training=settings.training)

        self._problem: str | None = None
        self._saved_at = time.monotonic()
        checkpoints: list[Checkpoint] = config["checkpoints"]
        for checkpoint in checkpoints:
            trainer = resumed(new, self._folder / checkpoint.file)
            if trainer is not None:
                self._trainer = trainer
                return
            self._problem = f"the checkpoint {checkpoint.file} cannot be read; resumed before it"
        self._trainer = new()

    def _report(self, result: EpochResult) -> Report:
        objective = objective_over_replicas(
            self._study.search.objective,
            result.metrics[f"best_val_{self._task.objective}"],
            direction=self._task.direction,
        )
        # A replica without a finite epoch gets none later, so neither does the objective.
        diverged = all(result.diverged) or math.isnan(objective)
        finished = self._trainer.finished and not diverged
        metrics = replica_metrics({**result.metrics, "best_epoch": result.best_epoch})
        return Report(
            epoch=result.epoch,
            objective=math.nan if diverged else objective,
            metrics={
                OBJECTIVE: math.nan if diverged else objective,
                **metrics,
                "epoch_wall_time_s": result.wall_time_s,
            },
            finished=finished,
            summary=self._summary() if finished else None,
        )

    def _summary(self) -> dict[str, float]:
        return summary_metrics(final_metrics(self._trainer, self._data))

    def _checkpoint(self, report: Report) -> Checkpoint | None:
        """Write one if it is time, or if this is the state to keep."""
        due = time.monotonic() - self._saved_at >= self._study.search.checkpoint_every_s
        needed = report.finished or report.epoch in self._pauses_at
        if math.isnan(report.objective) or not (due or needed):
            return None
        state = self._trainer.state_dict()
        checkpoint = write_checkpoint(self._folder, self._number, epoch=report.epoch, state=state)
        self._saved_at = time.monotonic()
        return checkpoint
