"""Trainings that a command asks for: read, costed, carried out on Ray, and recorded."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from rich.console import Console

from dmu_search.cli import reproduce_pages
from dmu_search.cli.screen import print_left_out, print_warning
from dmu_search.cli.tracked import print_where_to_look, tracked
from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.grammar import Alternatives, Setting
from dmu_search.config.keys import KEYS, Value
from dmu_search.config.roots import default_of
from dmu_search.config.settings import ResourceSettings, RunSettings, TrackingSettings, build
from dmu_search.data import Data, MissingFileError
from dmu_search.data.loading import LoadedData, load_data
from dmu_search.data.settings import DataSettings
from dmu_search.engine.plans.runs import PlannedRun
from dmu_search.errors import ClusterError, ConfigError, StorageError
from dmu_search.exit_codes import DONE, INTERRUPTED, SOME_FAILED
from dmu_search.folders import OutputFolder, check_there, claimed
from dmu_search.on_ray.interrupt import stop_on_signals
from dmu_search.on_ray.nodes import check_all_see, wait_for_gpus
from dmu_search.on_ray.ray_log import RAY_LOG, ray_log
from dmu_search.on_ray.resources import TrialShare, check_shared_folder, trial_share
from dmu_search.on_ray.session import ray_session
from dmu_search.on_ray.witness import witnessed
from dmu_search.results.compact import read_results
from dmu_search.results.trainings import RecordedRun, read_runs
from dmu_search.retraining.costs import Estimate, estimates_of
from dmu_search.retraining.needs import Need, jobs_of, planned
from dmu_search.retraining.on_workers import train_on_workers
from dmu_search.retraining.sources import Settings
from dmu_search.tracking import Tracking

# Runs whose pages are named at the end; MLflow's list has the others.
_FEW = 3
_ENDED = "error: the command was killed, or Ray, which it needs, was"


@dataclass(frozen=True)
class Means:
    """Where trainings go, and what they get.

    Attributes:
        output_dir: folder of all results.
        records: other recorded runs; None for none.
        resources: of the machines.
        tracking: where MLflow is.
    """

    output_dir: Path
    records: Path | None
    resources: ResourceSettings
    tracking: TrackingSettings

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> "Means":
        """What the values of a command say.

        Raises:
            StorageError: there is no folder ``records``.
        """
        records = values.get("records")
        if records is not None:
            check_there("records", Path(str(records)))
        return cls(
            Path(str(values["output_dir"])),
            None if records is None else Path(str(records)),
            build(ResourceSettings, "resources", values=values),
            build(TrackingSettings, "tracking", values=values),
        )


@dataclass(frozen=True)
class Work:
    """What there is to do, and with what.

    Attributes:
        console: to print on.
        needs: what is to be trained, and how much of it is recorded.
        recorded: trainings of the past, which tell what others cost.
        data: of the needs.
    """

    console: Console
    needs: Sequence[Need]
    recorded: Sequence[RecordedRun]
    data: LoadedData

    def estimated(self, workers: int) -> tuple[Estimate, ...]:
        """The trainings for so many workers, shown with their cost; the longest first."""
        estimates = estimates_of(jobs_of(self.needs, workers), self.recorded, data=self.data)
        reproduce_pages.print_needs(self.console, self.needs, estimates=estimates, workers=workers)
        return estimates

    def show(self, resources: ResourceSettings) -> None:
        """Print what would be trained."""
        self.estimated(resources.cpus or os.cpu_count() or 1)


def fixed_values(given: Mapping[str, Setting | Alternatives]) -> dict[str, Value]:
    """The values of the command over the defaults; lists only where they select.

    Raises:
        ConfigError: a value is a distribution.
    """
    faults = [
        f"{name}: reproduce takes one value, no distribution; give it one"
        for name, setting in given.items()
        if isinstance(setting, Interval | Choice)
    ]
    if faults:
        raise ConfigError(*faults)
    defaults = {
        name: KEYS[name].check(default_of(name))
        for name in KEYS
        if name.startswith(("resources.", "tracking.", "output_dir"))
    }
    plain = {k: v for k, v in given.items() if not isinstance(v, Alternatives)}
    return {**defaults, **cast(dict[str, Value], plain)}


def check_places(given: Iterable[str], tasks: Sequence[str], *, models: Sequence[str]) -> None:
    """Check that some of the tasks and models have the keys.

    Raises:
        ConfigError: none has one.
    """
    faults = [
        f"{name}: {reason}"
        for name in given
        if (reason := KEYS[name].misplaced(tasks, models)) is not None
    ]
    if faults:
        raise ConfigError(*faults)


def load_all(
    settings: Settings,
) -> tuple[LoadedData, dict[str, MissingFileError]]:
    """The data of the settings; a task whose files are nowhere to be had is left out.

    Returns:
        The data, and the tasks left out with what they lack.

    Raises:
        DataError: no task has its data, or data is altered or unreadable.
    """
    data: dict[tuple[str, DataSettings], Data] = {}
    absent: dict[str, MissingFileError] = {}
    for task, own in dict.fromkeys((one.run.task, one.run.data) for _, one in settings):
        try:
            data[task, own] = load_data(task, own)
        except MissingFileError as error:
            absent[task] = error
    if not data:
        raise next(iter(absent.values()))
    return data, absent


def recorded_runs(console: Console, means: Means) -> tuple[RecordedRun, ...]:
    """The runs of ``output_dir``, and the ended ones of ``records``: others have no checkpoint.

    Damaged ones are named and left out.
    """
    damaged: list[StorageError] = []
    found = list(read_runs(OutputFolder(means.output_dir).records, on_damage=damaged.append))
    if means.records is not None:
        elsewhere = read_results(means.records, on_damage=damaged.append)
        found += [run for run in elsewhere if run.ended]
    print_left_out(console, damaged)
    return tuple({run.run_id: run for run in found}.values())


def train(work: Work, means: Means) -> int:
    """Train everything that is needed, one command at a time in an output folder.

    Returns:
        The exit code.

    Raises:
        ClusterError: Ray is lost.
        StorageError: a folder cannot be written, or another command trains there.
    """
    check_shared_folder(means.resources, means.output_dir)
    with tracked(work.console, means.tracking, output_dir=means.output_dir) as tracking:
        return _train(work, means, tracking=tracking)


def _train(work: Work, means: Means, *, tracking: Tracking) -> int:
    retrained = OutputFolder(means.output_dir).retrained
    with (
        claimed(retrained),
        witnessed(f"{_ENDED}; the same command resumes it\n"),
        ray_log() as log,
        ray_session(means.resources, log),
    ):
        tracking.check()
        log.keep(retrained / RAY_LOG)
        cluster = wait_for_gpus(means.resources, partial(print_warning, work.console))
        check_all_see(retrained)
        share = trial_share(
            means.resources,
            cpus=cluster.cpus,
            gpus=cluster.gpus,
            measured_gpu_share=None,
            max_concurrent=None,
        )
        jobs = [each.job for each in work.estimated(share.concurrent)]
        if not jobs:
            return DONE
        tracking.begin(job.run.task for job in jobs)
        trainings = [
            (planned(job, work.data[job.run.task, job.run.data], folders=retrained), job.run)
            for job in jobs
        ]
        return _follow(work, trainings, tracking=tracking, share=share, means=means)


def _follow(
    work: Work,
    trainings: Sequence[tuple[PlannedRun, RunSettings]],
    *,
    tracking: Tracking,
    share: TrialShare,
    means: Means,
) -> int:
    lines = reproduce_pages.ProgressLines(work.console, len(trainings))
    failed = False
    try:
        with stop_on_signals(None) as stop:
            for progress in train_on_workers(
                trainings,
                work.data,
                share=share,
                tracking=tracking,
                folders=OutputFolder(means.output_dir).retrained,
                stopped=lambda: stop.reason is not None,
            ):
                lines.show(progress)
                failed |= any(error is not None for _, error in progress.ended)
    except ClusterError as fault:
        raise ClusterError(f"{fault}; the same command resumes where this one stopped") from None
    names = [plan.name for plan, _ in trainings][:_FEW]
    print_where_to_look(work.console, tracking, run_ids=names, settings=means.tracking)
    if stop.reason is not None:
        work.console.print("interrupted; the same command resumes it")
        return INTERRUPTED
    return SOME_FAILED if failed else DONE
