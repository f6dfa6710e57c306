"""The trials of a study as recorded runs; they follow the study's journal and never lead."""

from collections.abc import Mapping, Sequence

from dmu_search.config.compose import as_yaml_value
from dmu_search.config.keys import Value
from dmu_search.config.settings import matters
from dmu_search.names import TASKS, signed_loss
from dmu_search.records import Param, Recorder, RunStart
from dmu_search.study.files import Study
from dmu_search.study.journal import Event
from dmu_search.study.trials import Status, StudyState, TrialState
from dmu_search.tracking.names import FIXED, short_study, short_values

STATUS_OF_RUN: dict[Status, str] = {
    "finished": "FINISHED",
    "stopped early": "KILLED",
    "diverged": "FAILED",
    "failed": "FAILED",
}


def trial_run_id(study_name: str, number: int) -> str:
    """The id of a trial's recorded run, the same after a resume."""
    return f"{study_name}.{number:04d}"


class TrialRuns:
    """Keeps one run per trial, under the run of the study.

    Args:
        study: whose trials.
        recorder: where to.
        origin: tags that say where the runs come from.
        datasets: that the trials read, as in ``RunStart``.
    """

    def __init__(
        self,
        study: Study,
        recorder: Recorder,
        *,
        origin: Mapping[str, str] | None = None,
        datasets: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self._study = study
        self._recorder = recorder
        self._origin = origin or {}
        self._datasets = datasets
        self._open: set[int] = set()
        self._progress = StudyProgress(study, recorder)

    def catch_up(self, trials: Mapping[int, TrialState]) -> None:
        """Close the runs that a kill left open, also those of trials that go on later."""
        self._progress.catch_up()
        for trial in trials.values():
            run_id = trial_run_id(self._study.name, trial.number)
            due = trial.over or self._recorder.has(run_id)
            if due and not self._recorder.is_closed(run_id):
                self.begin(trial)
                self.finish(trial)

    def begin(self, trial: TrialState) -> None:
        """Open a trial's run, or resume it; epochs that its record lacks are brought in."""
        settings = self._study.settings
        tags = {
            "study": self._study.name,
            "task": settings.task,
            "model": settings.model,
            "depth": str(settings.depth),
            "trial_number": str(trial.number),
            **self._origin,
        }
        if trial.source is not None:
            tags["warm_start"] = trial.source
        run_id = trial_run_id(self._study.name, trial.number)
        start = RunStart(
            run_id=run_id,
            name=f"{short_study(self._study.name, settings.task)} {trial.number:03d} "
            f"{short_values(trial.values)}".rstrip(),
            kind="trial",
            parent_id=self._study.name,
            params=self._params(trial),
            tags={**tags, "outcome": "running"},
            datasets=self._datasets,
        )
        self._recorder.start(start)
        self._open.add(trial.number)
        for epoch in sorted(trial.metrics):
            self._recorder.log(run_id, trial.metrics[epoch], step=epoch)

    def follow(self, event: Event, trial: TrialState) -> None:
        """Keep what an event of the journal says of a trial."""
        run_id = trial_run_id(self._study.name, trial.number)
        match event["event"]:
            case "result":
                self._recorder.log(run_id, trial.metrics[event["epoch"]], step=event["epoch"])
            case "retry":
                self.tag(trial.number, {"retried": event["reason"]})
        # What is noted of a trial after its end, such as its last checkpoint, is not in its run.
        if trial.over and event["event"] in ("result", "fail", "end"):
            if trial.number not in self._open:
                self.begin(trial)
            self._close(trial)
            self._progress.add(trial)

    def note(self, problem: str) -> None:
        """Note, on the run of the study, what is wrong and stops nothing."""
        self._recorder.tag(self._study.name, {"problem": problem})

    def rewrite(self, trial: TrialState) -> None:
        """Write the record of a trial anew; what MLflow has of it besides is void."""
        run_id = trial_run_id(self._study.name, trial.number)
        self.begin(trial)
        self._recorder.void_after(run_id, trial.epoch)
        self.finish(trial)

    def finish(self, trial: TrialState) -> None:
        """Close the run of a trial that nobody carries at the moment."""
        if trial.over:
            self._close(trial)
        else:
            self.interrupt()

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Add tags to the run of a trial, if it is open."""
        if number in self._open:
            self._recorder.tag(trial_run_id(self._study.name, number), tags)

    def interrupt(self) -> None:
        """Close what is open; a resume opens it again."""
        for number in sorted(self._open):
            run_id = trial_run_id(self._study.name, number)
            self._recorder.tag(run_id, {"outcome": "interrupted"})
            self._recorder.end(run_id, "KILLED")
        self._open.clear()

    def _close(self, trial: TrialState) -> None:
        run_id = trial_run_id(self._study.name, trial.number)
        if trial.summary:
            self._recorder.summarise(run_id, trial.summary)
        error = {"error": trial.error} if trial.error else {}
        self._recorder.tag(run_id, {"outcome": trial.status, **error})
        self._recorder.end(run_id, STATUS_OF_RUN[trial.status])
        self._open.discard(trial.number)

    def _params(self, trial: TrialState) -> dict[str, Param]:
        """What was searched, then what all trials share and has an effect in this one."""
        whole = self._study.settings.run(trial.values).values()
        fixed = {
            f"{FIXED}{name}": str(as_yaml_value(value))
            for name, value in whole.items()
            if name not in trial.values and matters(name, whole)
        }
        return {name: _param(value) for name, value in trial.values.items()} | fixed


class StudyProgress:
    """Metrics of a study over its trials, in the order in which they ended.

    Args:
        study: whose run is open.
        recorder: where to.
    """

    def __init__(self, study: Study, recorder: Recorder) -> None:
        self._name = study.name
        self._study = study
        self._recorder = recorder
        self._direction = TASKS[study.settings.task].direction
        self._ended = 0
        self._epochs = 0
        self._best: float | None = None

    def catch_up(self) -> None:
        """Take in what an earlier process saw end."""
        events = self._study.events()
        trials = StudyState.of(events).trials
        ended = dict.fromkeys(
            event["trial"]
            for event in reversed(events)
            if event["event"] in ("result", "fail", "end") and trials[event["trial"]].over
        )
        for number in reversed(ended):
            self.add(trials[number])

    def add(self, trial: TrialState) -> None:
        """One more trial has ended; what its study's record has already is not written again."""
        self._ended += 1
        self._epochs += trial.epoch
        found = None if trial.status in ("diverged", "failed") else trial.objective
        if found is not None and trial.status == "finished":
            better = self._best is None or signed_loss(found, self._direction) < signed_loss(
                self._best, self._direction
            )
            self._best = found if better else self._best
        metrics: dict[str, float] = {"epochs_spent": self._epochs}
        metrics |= {} if found is None else {"trial_objective": found}
        metrics |= {} if self._best is None else {"best_so_far": self._best}
        if self._ended > self._recorder.epochs(self._name):
            self._recorder.log(self._name, metrics, step=self._ended)


def _param(value: Value) -> Param:
    assert not isinstance(value, tuple), "widths are not searched"
    return value
