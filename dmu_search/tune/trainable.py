"""One trial: a trainer that Ray Tune steps, saves, restores and re-uses."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from ray import tune

from dmu_search.data.loading import final_metrics, make_task
from dmu_search.engine.training.metrics import replica_metrics, summary_metrics
from dmu_search.engine.training.trainer import Trainer
from dmu_search.study.settings import StudySettings
from dmu_search.tune.devices import assigned_device
from dmu_search.tune.objective import objective_over_replicas
from dmu_search.tune.searcher import OBJECTIVE

CHECKPOINT_FILE = "trainer.pt"


class TrainingTrial(tune.Trainable):
    """Trains the replicas of one proposal, one epoch per step.

    A result holds ``objective`` (by ``search.objective``, of the best validation results so far),
    ``finished`` (the whole budget is used), ``diverged`` (nothing further can come of it),
    ``problem`` (why it runs slower than it should), ``metrics`` of the epoch and, in the last
    result of a finished trial, ``summary`` with all splits at the best epoch.
    """

    def setup(  # type: ignore[override]  # Tune passes what `with_parameters` was given.
        self, config: dict[str, Any], *, study: StudySettings, data: Any
    ) -> None:
        """Prepare a new actor; ``data`` is shared by all trials of the study."""
        self._study = study
        self._data = data
        self._device = assigned_device()
        self._task = make_task(study.task, data, device=self._device)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in this actor; its data stays loaded."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train and validate one epoch."""
        result = self._trainer.run_epoch()
        objective = objective_over_replicas(
            self._study.search.objective,
            result.metrics[f"best_val_{self._task.objective}"],
            self._task.direction,
        )
        # A replica without a finite epoch gets none later, so neither does the objective.
        diverged = all(result.diverged) or math.isnan(objective)
        finished = self._trainer.finished and not diverged
        return {
            OBJECTIVE: math.nan if diverged else objective,
            "finished": finished,
            "diverged": diverged,
            "done": self._trainer.finished or diverged,
            "metrics": replica_metrics({**result.metrics, "best_epoch": result.best_epoch})
            | {"epoch_wall_time_s": result.wall_time_s},
            "summary": self._summary() if finished else {},
            "problem": self._trainer.problem,
            "should_checkpoint": self._checkpoint_is_due(),
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trainer's whole state."""
        torch.save(self._trainer.state_dict(), Path(checkpoint_dir, CHECKPOINT_FILE))
        self._saved_at = time.monotonic()

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        """Go on exactly where the state was written."""
        state = torch.load(Path(checkpoint_dir, CHECKPOINT_FILE), weights_only=True)
        self._trainer.load_state_dict(state)

    def _begin(self, config: dict[str, Any]) -> None:
        settings = self._study.run(config["values"])
        self._trainer = Trainer(self._task, settings.network, settings.training)
        self._saved_at = time.monotonic()

    def _summary(self) -> dict[str, float]:
        return summary_metrics(final_metrics(self._trainer, self._data))

    def _checkpoint_is_due(self) -> bool:
        waited = time.monotonic() - self._saved_at
        return waited >= self._study.search.checkpoint_every_s
