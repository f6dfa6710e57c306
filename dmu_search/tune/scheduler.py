"""ASHA that survives a resume and spares warm starts."""

from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from dmu_search.names import TASKS, Direction, signed_loss
from dmu_search.study.settings import StudySettings
from dmu_search.tune.searcher import MODES, OBJECTIVE


class ResumableASHA(ASHAScheduler):
    """Ray's ASHA, which forgets its rungs on a restore (ray issue 30838) and spares no trial.

    Args:
        max_epochs: of a trial that is not stopped.
        grace_epochs: first rung.
        reduction_factor: one trial in this many goes on from a rung.
        direction: whether the objective is to be small or large.
    """

    def __init__(
        self, *, max_epochs: int, grace_epochs: int, reduction_factor: int, direction: Direction
    ) -> None:
        self._direction: Direction = direction
        super().__init__(
            metric=OBJECTIVE,
            mode=MODES[direction],
            max_t=max_epochs,
            grace_period=grace_epochs,
            reduction_factor=reduction_factor,
            # The trial itself says when it is finished, with its final evaluation.
            stop_last_trials=False,
        )

    def replay(self, history: Mapping[str, Mapping[int, float]]) -> None:
        """Fill the rungs from what trials reported before a restart.

        Args:
            history: trial id -> epoch -> objective.
        """
        (bracket,) = self._brackets
        for milestone, recorded in bracket._rungs:
            for trial_id, values in history.items():
                reached = [epoch for epoch in sorted(values) if epoch >= milestone]
                if reached:
                    # Rungs hold numbers that are the larger the better they are.
                    recorded.setdefault(trial_id, -signed_loss(values[reached[0]], self._direction))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Stop the trial if it is among the weak ones of its rung, unless it is a warm start."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if trial.config["warm_start"] is not None:
            return str(TrialScheduler.CONTINUE)
        return decision


def make_scheduler(settings: StudySettings) -> TrialScheduler:
    """The scheduler that the settings name."""
    if settings.search.scheduler == "none":
        return FIFOScheduler()
    return ResumableASHA(
        max_epochs=settings.max_epochs,
        grace_epochs=settings.grace_epochs,
        reduction_factor=settings.search.reduction_factor,
        direction=TASKS[settings.task].direction,
    )
