"""The study behind Ray Tune's seams: it is asked and told; Tune places, shares and carries out.

A Tune trial is a carrier: it takes one assignment of the study, a setting from its start or from a
checkpoint. So a resume is a fresh Tune run, and Tune's own state is never read. Ray's
``OptunaSearch`` tells trials that were stopped as complete, leaves diverged ones running, and
cannot be restored after a hard kill.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from dmu_search.errors import StorageError
from dmu_search.on_ray.checkpoints import Checkpoints
from dmu_search.on_ray.cluster_watch import ClusterWatch
from dmu_search.on_ray.interrupt import Halt
from dmu_search.on_ray.objective import OBJECTIVE
from dmu_search.on_ray.trial_faults import TrialFault, cause_of, fault_of
from dmu_search.study.search_study import SearchStudy

EPOCH_S = "epoch_wall_time_s"
_LOOK_EVERY_S = 5.0
# A proposal that takes less is never in the way.
_NOTICED_S = 0.1


class StudySearcher(Searcher):
    """Hands Tune the study's assignments.

    Args:
        study: asked.
        halt: told of a fault of the disk.
        max_concurrent: trials at a time.
        say: told once when proposing costs more than training.
    """

    def __init__(
        self,
        study: SearchStudy,
        halt: Halt,
        *,
        max_concurrent: int,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="min")
        self._study = study
        self._halt = halt
        self._max_concurrent = max_concurrent
        self._say = say
        self._told = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """A carrier's configuration; None while enough trials run, or none is left to start."""
        if self._halt.fault is not None:
            return str(Searcher.FINISHED)
        # Asked often, and answered at once.
        if self._study.carried >= self._max_concurrent:
            return None
        if self._study.over:
            return str(Searcher.FINISHED)
        began = time.monotonic()
        try:
            assignment = self._study.next()
        except StorageError as fault:
            self._halt(fault)
            return None
        self._compare(time.monotonic() - began)
        if assignment is None:
            # Asked for the last time, the study ends what is still paused.
            return str(Searcher.FINISHED) if self._study.over else None
        return {
            "number": assignment.number,
            "values": dict(assignment.values),
            "source": assignment.source,
            "checkpoints": list(assignment.checkpoints),
            "room": assignment.room,
            "pauses_at": assignment.pauses_at,
        }

    def _compare(self, proposal_s: float) -> None:
        """Say once that a proposal took longer than an epoch, so that places stand idle."""
        if self._told or proposal_s < _NOTICED_S:
            return
        epochs = [
            metrics[EPOCH_S]
            for trial in self._study.trials.values()
            for metrics in list(trial.metrics.values())[-1:]
            if EPOCH_S in metrics
        ]
        if epochs and proposal_s > min(epochs):
            self._told = True
            self._say(
                f"a proposal took {proposal_s:.2g} s and an epoch only {min(epochs):.2g} s; "
                "search.sampler=random proposes at once"
            )

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the study decided the end itself, or hears of the error from the scheduler."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it all."""


class StudyScheduler(FIFOScheduler):
    """Tells the study results and errors, and carries its decisions out.

    Args:
        study: told.
        checkpoints: of the study.
        halt: told of a fault of the disk.
        watch: asked whether it was Ray that was lost, when a trial is.
        min_free_mb: free disk below which the study ends in order.
    """

    def __init__(
        self,
        study: SearchStudy,
        checkpoints: Checkpoints,
        *,
        halt: Halt,
        watch: ClusterWatch,
        min_free_mb: float,
    ) -> None:
        super().__init__()
        self._halt = halt
        self._watch = watch
        self._study = study
        self._checkpoints = checkpoints
        self._min_free_mb = min_free_mb
        self._looked_at = -math.inf
        self._added: list[Trial] = []

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Remember a carrier that has no process yet."""
        self._added.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The carrier added last, so that it takes the process that has just become free.

        Ray's own choice gives that process to a carrier whose own is still starting, ends the
        latter and starts another: with short trials, one process trains and the others never do.
        """
        return self._added.pop() if self._added else None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Continue or stop, as the study decides; a disk that is full stops everything."""
        if self._halt.fault is None:
            try:
                self._check_disk()
                return self._tell(trial, result)
            except StorageError as fault:
                self._halt(fault)
        return str(TrialScheduler.STOP)

    def _check_disk(self) -> None:
        """Look every few seconds, so that there is room left to end in order."""
        if time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        self._checkpoints.check_free(self._min_free_mb)

    def _tell(self, trial: Trial, result: dict[str, Any]) -> str:
        number = trial.config["number"]
        goes_on = self._study.report(number, result["report"])
        # Noted after its result: a state of epochs that the study does not know is of no use.
        if result["checkpoint"] is not None:
            self._checkpoints.keep(number, result["checkpoint"])
        if not goes_on:
            self._checkpoints.tidy()
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Try a trial again whose process was lost; one that raised has failed."""
        cause = cause_of(trial)
        if isinstance(cause, StorageError):
            self._halt(cause)
        # Where Ray itself is lost, so are all trials, by no fault of theirs.
        self._watch.check()
        if self._halt.fault is not None:
            return
        try:
            self._tell_error(trial.config["number"], fault_of(trial))
        except StorageError as full:
            self._halt(full)

    def _tell_error(self, number: int, fault: TrialFault) -> None:
        if fault.own:
            self._study.fail(number, fault.reason)
        else:
            self._study.lose(number, fault.reason, more_room=fault.more_room)
        if self._study.trials[number].status != "open":
            self._checkpoints.tidy()
