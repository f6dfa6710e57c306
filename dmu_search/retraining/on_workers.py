"""Trainings on Ray workers, followed by their records."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dmu_search.config.settings import RunSettings
from dmu_search.data import Data
from dmu_search.data.loading import LoadedData
from dmu_search.engine.plans.runs import PlannedRun
from dmu_search.on_ray.resources import TrialShare
from dmu_search.on_ray.workers import on_workers, shared
from dmu_search.records import Recorder, RecordTail
from dmu_search.retraining.run import retrain
from dmu_search.tracking import Tracking


@dataclass(frozen=True)
class Going:
    """A training that goes on.

    Attributes:
        name: of its run.
        epoch: epochs recorded.
        max_epochs: epochs in all, at most.
    """

    name: str
    epoch: int
    max_epochs: int


@dataclass(frozen=True)
class Progress:
    """What the trainings did in the last seconds.

    Attributes:
        ended: name and error of each that ended since the last time; the error None if it is done.
        going: those that go on.
        problems: sentences on trainings that do not start where they were, and on MLflow.
    """

    ended: tuple[tuple[str, str | None], ...]
    going: tuple[Going, ...]
    problems: tuple[str, ...] = ()


def train_on_workers(
    trainings: Sequence[tuple[PlannedRun, RunSettings]],
    data: LoadedData,
    *,
    share: TrialShare,
    tracking: Tracking,
    folders: Path,
    stopped: Callable[[], bool],
) -> Iterator[Progress]:
    """Train side by side; workers write records only, which MLflow follows.

    Args:
        trainings: as their records describe them, with their settings.
        data: of all of them.
        share: what each gets.
        tracking: where runs go.
        folders: where each has a folder of its own, by name, for weights and checkpoints.
        stopped: asked every few seconds; if true, those that go on are ended and closed as KILLED.

    Yields:
        What happened, every few seconds.

    Raises:
        ClusterError: Ray is lost.
    """
    records = tracking.recorder.folder
    stored = {key: shared(one) for key, one in data.items()}
    arguments = [
        {
            "plan": plan,
            "run": run,
            "data": stored[run.task, run.data],
            "folder": (folders / plan.name).resolve(),
            "records": records.resolve(),
        }
        for plan, run in trainings
    ]
    followed = [
        _Followed(plan, RecordTail(records / f"{plan.name}.jsonl")) for plan, _ in trainings
    ]
    tracking.follow(plan.name for plan, _ in trainings)
    try:
        for ended in on_workers(
            _carry_out, arguments, cpus=share.cpus, gpus=share.gpus, stopped=stopped
        ):
            problems = [problem for each in followed for problem in each.catch_up()]
            problems += tracking.news()
            yield Progress(
                tuple((followed[one.index].plan.name, one.error) for one in ended),
                tuple(each.going for each in followed if each.is_open),
                tuple(problems),
            )
    finally:
        for each in followed:
            # A worker may have begun a run, or ended one, since the last look.
            each.catch_up()
            if each.is_open:
                tracking.recorder.close_for(each.plan.name, "KILLED")


def _carry_out(
    plan: PlannedRun, run: RunSettings, *, data: Data, folder: Path, records: Path
) -> None:
    retrain(
        plan, run, data=data, folder=folder, recorder=Recorder(records), on_epoch=lambda _: None
    )


@dataclass
class _Followed:
    """A training as its record tells it so far."""

    plan: PlannedRun
    tail: RecordTail
    epoch: int = 0
    is_open: bool = False

    @property
    def going(self) -> Going:
        return Going(self.plan.name, self.epoch, self.plan.training.max_epochs)

    def catch_up(self) -> list[str]:
        """Take in new events; returns problems that they tell of."""
        problems = []
        for event in self.tail.new_events():
            match event["event"]:
                case "start":
                    self.is_open = True
                case "tags" if "problem" in event["tags"]:
                    problems.append(event["tags"]["problem"])
                case "metrics":
                    self.epoch = event["step"]
                case "end":
                    self.is_open = False
        return problems
