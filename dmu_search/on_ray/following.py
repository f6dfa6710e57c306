"""Records, screen and mirror: they follow the study's journal, on the driver only."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from dmu_search.errors import StorageError
from dmu_search.on_ray.interrupt import Halt
from dmu_search.on_ray.progress import TrialView, Watcher
from dmu_search.study.journal import Event
from dmu_search.study.mirror import JournalMirror
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.trials import TrialState
from dmu_search.tracking.trial_runs import TrialRuns

_MIRROR_EVERY_S = 1.0


class Following(tune.Callback):
    """Passes on what the study decided, once it is in the journal.

    Ray's own MLflow callback duplicates every run on a restore, logs a diverged trial as finished,
    and has no parent run.

    Args:
        study: what is followed.
        runs: gets everything.
        mirror: gets the trials that ended.
        watcher: told of every change.
        halt: told of a fault of the disk.
        news: called often; what the user has to know of MLflow.
    """

    def __init__(
        self,
        study: SearchStudy,
        runs: TrialRuns,
        *,
        mirror: JournalMirror,
        watcher: Watcher,
        halt: Halt,
        news: Callable[[], Sequence[str]],
    ) -> None:
        self._halt = halt
        self._news = news
        self._study = study
        self._runs = runs
        self._mirror = mirror
        self._watcher = watcher
        self._problems: dict[int, str] = {}
        self._mirror_due = False
        self._mirrored_at = -math.inf

    def begin(self) -> None:
        """Bring records and mirror up to what the journal says already."""
        self._runs.catch_up(self._study.trials)
        self._update_mirror()
        self._study.follow = self.follow

    def follow(self, event: Event, trial: TrialState) -> None:
        """An event took effect."""
        self._runs.follow(event, trial)
        match event["event"]:
            case "result" | "fail" | "end":
                self._watcher.update(TrialView.of(trial, problem=self._problems.get(trial.number)))
            case "retry":
                more = f", with {trial.room:g} times the room" if trial.room > 1 else ""
                self._watcher.say(f"trial {trial.number} is tried again{more}: {event['reason']}")
        ended = trial.over and event["event"] in ("result", "fail", "end")
        self._mirror_due |= ended or event["event"] == "ask"

    def end(self) -> None:
        """Bring the mirror up to the last event."""
        if self._mirror_due:
            self._update_mirror()

    def _update_mirror(self) -> None:
        """The mirror is a copy: what goes wrong with it is noted, once, and stops nothing.

        It comes a second late: a trial that has ended by then costs a third of one that is added
        first and ended later.
        """
        self._mirror_due, self._mirrored_at = False, time.monotonic()
        told = self._mirror.problem
        self._mirror.update(self._study.trials)
        if self._mirror.problem is not None and told is None:
            self._runs.note(self._mirror.problem)

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Ray Tune looked for news; it does so several times a second."""
        for sentence in self._news():
            self._watcher.say(sentence)
        if self._mirror_due and time.monotonic() - self._mirrored_at >= _MIRROR_EVERY_S:
            self._update_mirror()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A process carries a trial: open its run, or resume it."""
        state = self._study.trials[trial.config["number"]]
        try:
            self._runs.begin(state)
        except StorageError as fault:
            self._halt(fault)
        self._watcher.update(TrialView.of(state))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Say once what slows a trial down."""
        number, problem = trial.config["number"], result["problem"]
        if problem and self._problems.get(number) != problem:
            self._problems[number] = problem
            self._runs.tag(number, {"problem": problem})
            self._watcher.update(TrialView.of(self._study.trials[number], problem=problem))
