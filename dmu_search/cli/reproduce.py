"""The command ``reproduce``: what tables and figures need, planned, trained and recorded."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from rich.console import Console

from dmu_search.cli import reproduce_pages
from dmu_search.cli.screen import open_console, print_left_out, print_warning
from dmu_search.cli.tracked import print_where_to_look, tracked
from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.grammar import Alternatives, Setting, parse_overrides
from dmu_search.config.keys import KEYS, PUBLISHED, Value
from dmu_search.config.roots import default_of
from dmu_search.config.settings import ResourceSettings, RunSettings, TrackingSettings, build
from dmu_search.data import Data, MissingFileError
from dmu_search.data.loading import LoadedData, load_data
from dmu_search.data.settings import DataSettings
from dmu_search.engine.plans.runs import PlannedRun
from dmu_search.errors import ClusterError, ConfigError, StorageError
from dmu_search.exit_codes import DONE, INTERRUPTED, SOME_FAILED
from dmu_search.folders import OutputFolder, check_there, check_writable, claimed
from dmu_search.names import MODELS, TASKS
from dmu_search.on_ray.interrupt import stop_on_signals
from dmu_search.on_ray.nodes import check_all_see, check_shared_folder, wait_for_gpus
from dmu_search.on_ray.ray_log import RAY_LOG, ray_log
from dmu_search.on_ray.resources import TrialShare, trial_share
from dmu_search.on_ray.session import ray_session
from dmu_search.on_ray.witness import witnessed
from dmu_search.paper.published import published
from dmu_search.results.compact import read_results
from dmu_search.results.trainings import RecordedRun, read_runs
from dmu_search.retraining.costs import Estimate, estimates_of
from dmu_search.retraining.needs import Need, jobs_of, needs_of, planned, settings_for
from dmu_search.retraining.on_workers import train_on_workers
from dmu_search.retraining.plan_folder import write_plan_folder
from dmu_search.retraining.short_runs import Settings, check_settings, compared, shortened
from dmu_search.retraining.sources import Sourced, tasks_of
from dmu_search.study.settings import alternatives
from dmu_search.tracking import Tracking

_RUN_GROUPS = ("network.", "training.", "data.")
# Runs whose pages are named at the end; MLflow's list has the others.
_FEW = 3
_ENDED = "error: the command was killed, or Ray, which it needs, was"


@dataclass(frozen=True)
class _Asked:
    """What the words of the command ask for."""

    settings: tuple[tuple[tuple[str, ...], Sourced], ...]
    output_dir: Path
    records: Path | None
    plan_only: bool
    short: bool
    resources: ResourceSettings
    tracking: TrackingSettings


@dataclass(frozen=True)
class _Work:
    """What there is to do, and with what."""

    console: Console
    needs: Sequence[Need]
    recorded: Sequence[RecordedRun]
    data: LoadedData

    def estimated(self, workers: int) -> tuple[Estimate, ...]:
        """The trainings for so many workers, shown with their cost; the longest first."""
        estimates = estimates_of(jobs_of(self.needs, workers), self.recorded, data=self.data)
        reproduce_pages.print_needs(self.console, self.needs, estimates=estimates, workers=workers)
        return estimates


def reproduce(words: Sequence[str], *, dry_run: bool) -> int:
    """Run the command; returns its exit code, 1 also where a task was left out for lack of data.

    Raises:
        DmuSearchError: bad input, found before anything is written.
    """
    asked = _asked(words)
    console = open_console()
    recorded = _recorded(console, asked)
    settings = _recorded_tasks(asked.settings, recorded) if asked.short else asked.settings
    data, absent = _load(settings)
    reproduce_pages.print_data(console, data, absent=absent)
    settings = tuple(pair for pair in settings if pair[1].run.task not in absent)
    if asked.short:
        settings = shortened(settings, recorded, data=data)
    work = _Work(console, needs_of(settings, recorded, data=data), recorded, data)
    code = DONE
    if dry_run:
        work.estimated(asked.resources.cpus or os.cpu_count() or 1)
    elif asked.plan_only:
        _write_plan(work, asked.output_dir)
    else:
        check_shared_folder(asked.resources, asked.output_dir)
        with tracked(console, asked.tracking, output_dir=asked.output_dir) as tracking:
            code = _train(work, asked, tracking=tracking)
        if asked.short and code != INTERRUPTED:
            new = read_runs(OutputFolder(asked.output_dir).records)
            found = compared(settings, recorded, new=new, data=data)
            reproduce_pages.print_comparisons(console, found)
            code = code or (DONE if all(one.agrees for one in found) else SOME_FAILED)
    return code or (SOME_FAILED if absent else DONE)


def _asked(words: Sequence[str]) -> _Asked:
    given = parse_overrides("reproduce", words)
    values = _fixed(given)
    output_dir = Path(str(values["output_dir"]))
    check_writable(output_dir)
    tasks = _tasks(given)
    models = alternatives(given["model"]) if "model" in given else tuple(MODELS)
    _check_places(given, tasks, models=models)
    settings = settings_for(
        tasks,
        models,
        depths=cast(tuple[int, ...], alternatives(given["depth"])) if "depth" in given else (),
        sources=alternatives(given["source"]) if "source" in given else PUBLISHED,
        output_dir=output_dir,
        given={k: v for k, v in values.items() if k.startswith(_RUN_GROUPS) and k in given},
    )
    if not settings:
        raise ConfigError(
            "source: there is no setting of this source for these tasks, models and depths; "
            "leave some out, or find settings with tune"
        )
    records = values.get("records")
    short = bool(values.get("short"))
    if short and (faults := check_settings(given)):
        raise ConfigError(*faults)
    if short and records is None:
        raise ConfigError("short: needs recorded runs to compare with; add records=docs/results")
    return _Asked(
        settings,
        output_dir,
        None if records is None else Path(str(records)),
        bool(values.get("plan_only")),
        short,
        build(ResourceSettings, "resources", values=values),
        build(TrackingSettings, "tracking", values=values),
    )


def _fixed(given: Mapping[str, Setting | Alternatives]) -> dict[str, Value]:
    """The values of the command over the defaults; lists only where they select."""
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


def _load(
    settings: Iterable[tuple[tuple[str, ...], Sourced]],
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


def _recorded_tasks(settings: Settings, recorded: Sequence[RecordedRun]) -> Settings:
    """The settings of tasks that have recorded trainings.

    Raises:
        ConfigError: none has.
    """
    tasks = {run.run.task for run in recorded}
    kept = tuple(pair for pair in settings if pair[1].run.task in tasks)
    if not kept:
        raise ConfigError("records: has no training of these tasks; name others, or another folder")
    return kept


def _recorded(console: Console, asked: _Asked) -> tuple[RecordedRun, ...]:
    """The runs of ``output_dir``, and the ended ones of ``records``: others have no checkpoint.

    Damaged ones are named and left out.
    """
    damaged: list[StorageError] = []
    found = list(read_runs(OutputFolder(asked.output_dir).records, on_damage=damaged.append))
    if asked.records is not None:
        check_there("records", asked.records)
        elsewhere = read_results(asked.records, on_damage=damaged.append)
        found += [run for run in elsewhere if run.ended]
    print_left_out(console, damaged)
    return tuple({run.run_id: run for run in found}.values())


def _check_places(given: Iterable[str], tasks: Sequence[str], *, models: Sequence[str]) -> None:
    faults = [
        f"{name}: {reason}"
        for name in given
        if (reason := KEYS[name].misplaced(tasks, models)) is not None
    ]
    if faults:
        raise ConfigError(*faults)


def _tasks(given: Mapping[str, Setting | Alternatives]) -> tuple[str, ...]:
    """The tasks of the tables and figures, or of ``task``; all where none is named."""
    tables = cast(tuple[int, ...], alternatives(given["table"])) if "table" in given else ()
    figures = cast(tuple[int, ...], alternatives(given["figure"])) if "figure" in given else ()
    trained = {published(task).table for task in TASKS}
    if needless := [str(table) for table in tables if table not in trained]:
        raise ConfigError(
            f"table={','.join(needless)}: needs no training; `python -m dmu_search report` "
            "prints it"
        )
    in_paper = tuple(task for task in TASKS if published(task).in_paper)
    tasks = tasks_of(tables, figures) if tables or figures else in_paper
    if "task" in given:
        chosen = alternatives(given["task"])
        if unknown := [task for task in chosen if task not in in_paper]:
            raise ConfigError(
                f"task={','.join(unknown)}: the paper has no such task, so there is nothing to "
                "reproduce; use tune, then train"
            )
        tasks = tuple(task for task in tasks if task in chosen)
        if not tasks:
            raise ConfigError(
                f"task={','.join(chosen)}: is in none of the named tables and figures; leave them "
                "out, or change task"
            )
    return tasks


def _write_plan(work: _Work, output_dir: Path) -> None:
    """A folder to be carried to another machine, and what to call there and here."""
    jobs = [each.job for each in work.estimated(workers=1)]
    new = [job for job in jobs if job.continues is None]
    if len(new) < len(jobs):
        reproduce_pages.print_left_here(work.console, len(jobs) - len(new))
    if new:
        folder = write_plan_folder(new, work.data, output_dir=output_dir)
        reproduce_pages.print_way_there(work.console, folder, count=len(new), output_dir=output_dir)


def _train(work: _Work, asked: _Asked, *, tracking: Tracking) -> int:
    """Train everything that is needed, one command at a time in an output folder."""
    retrained = OutputFolder(asked.output_dir).retrained
    with (
        claimed(retrained),
        witnessed(f"{_ENDED}; the same command resumes it\n"),
        ray_log() as log,
        ray_session(asked.resources, log),
    ):
        tracking.check()
        log.keep(retrained / RAY_LOG)
        cluster = wait_for_gpus(asked.resources, partial(print_warning, work.console))
        check_all_see(retrained)
        share = trial_share(
            asked.resources,
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
        return _follow(work, trainings, tracking=tracking, share=share, asked=asked)


def _follow(
    work: _Work,
    trainings: Sequence[tuple[PlannedRun, RunSettings]],
    *,
    tracking: Tracking,
    share: TrialShare,
    asked: _Asked,
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
                folders=OutputFolder(asked.output_dir).retrained,
                stopped=lambda: stop.reason is not None,
            ):
                lines.show(progress)
                failed |= any(error is not None for _, error in progress.ended)
    except ClusterError as fault:
        raise ClusterError(f"{fault}; the same command resumes where this one stopped") from None
    names = [plan.name for plan, _ in trainings][:_FEW]
    print_where_to_look(work.console, tracking, run_ids=names, settings=asked.tracking)
    if stop.reason is not None:
        work.console.print("interrupted; the same command resumes it")
        return INTERRUPTED
    return SOME_FAILED if failed else DONE
