"""The command ``reproduce``: what tables and figures need, planned, trained and recorded."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dmu_search.cli.invocation import command, where_to_look
from dmu_search.cli.screen import duration, open_console
from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.grammar import Alternatives, Setting, parse_overrides
from dmu_search.config.keys import KEYS, PUBLISHED, Value
from dmu_search.config.roots import default_of
from dmu_search.config.settings import ResourceSettings, RunSettings, TrackingSettings, build
from dmu_search.data import Data, MissingFileError
from dmu_search.data.loading import LoadedData, load_data, make_task
from dmu_search.data.settings import DataSettings
from dmu_search.engine.plans.plan_file import write_plan
from dmu_search.engine.plans.runs import PlannedRun
from dmu_search.engine.training.trainer import Trainer
from dmu_search.errors import ConfigError
from dmu_search.exit_codes import DONE, INTERRUPTED, SOME_FAILED
from dmu_search.folders import (
    OutputFolder,
    check_there,
    check_writable,
    claimed,
    make_unique_folder,
)
from dmu_search.names import MODELS, TASKS
from dmu_search.paper.published import published
from dmu_search.records import Recorder, RecordTail
from dmu_search.results.compact import read_results
from dmu_search.results.trainings import RecordedRun, read_runs
from dmu_search.retraining.needs import (
    Job,
    Need,
    jobs_of,
    needs_of,
    planned,
    seconds_of,
    settings_for,
)
from dmu_search.retraining.run import plan_run, retrain
from dmu_search.retraining.sources import Sourced, tasks_of
from dmu_search.study.settings import alternatives
from dmu_search.tracking import Tracking, check_tracking, open_tracking
from dmu_search.tune.interrupt import stop_on_signals
from dmu_search.tune.resources import TrialShare, trial_share
from dmu_search.tune.session import ray_session
from dmu_search.tune.workers import Ended, on_workers, shared

_RUN_GROUPS = ("network.", "training.", "data.")
_PROBE_S = 0.5
_SPEAK_EVERY_S = 30.0
# Runs whose pages are named at the end; MLflow's list has the others.
_FEW = 3


@dataclass(frozen=True)
class _Estimated:
    """A job and the seconds it will take on one worker."""

    job: Job
    seconds: float


def reproduce(words: Sequence[str], *, dry_run: bool) -> int:
    """Run the command; returns its exit code, 1 also where a task was left out for lack of data.

    Raises:
        DmuSearchError: bad input, found before anything is written.
    """
    given = parse_overrides("reproduce", words)
    values = _fixed(given)
    output_dir = Path(str(values["output_dir"]))
    tasks = _tasks(given)
    models = alternatives(given["model"]) if "model" in given else MODELS
    _check_places(given, tasks, models)
    settings = settings_for(
        tasks,
        models,
        cast(tuple[int, ...], alternatives(given["depth"])) if "depth" in given else (),
        alternatives(given["source"]) if "source" in given else PUBLISHED,
        output_dir=output_dir,
        given={k: v for k, v in values.items() if k.startswith(_RUN_GROUPS) and k in given},
    )
    if not settings:
        raise ConfigError(
            "source: there is no setting of this source for these tasks, models and depths; "
            "leave some out, or find settings with tune"
        )
    data, absent = _load(settings)
    settings = tuple(pair for pair in settings if pair[1].run.task not in absent)
    console = open_console()
    for task, error in absent.items():
        console.print(f"[bold yellow]left out:[/] {task}: {escape(str(error))}", soft_wrap=True)
    done = SOME_FAILED if absent else DONE
    for warning in {one.warning for one in data.values() if one.warning}:
        console.print(f"[bold yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    recorded = _recorded(output_dir, values["records"])
    needs = needs_of(settings, recorded, data)
    resources = build(ResourceSettings, "resources", values)
    tracking = build(TrackingSettings, "tracking", values)
    workers = resources.cpus or os.cpu_count() or 1
    if dry_run:
        _print_plan(console, needs, recorded, data, workers)
        return done
    check_writable(output_dir)
    if values["plan_only"]:
        _write_plan(console, _print_plan(console, needs, recorded, data, 1), data, output_dir)
        return done
    check_tracking(tracking, output_dir)
    with claimed(OutputFolder(output_dir).retrained), ray_session(resources) as cluster:
        share = trial_share(
            resources,
            cpus=cluster.cpus,
            gpus=cluster.gpus,
            measured_gpu_share=None,
            max_concurrent=None,
        )
        jobs = _print_plan(console, needs, recorded, data, share.concurrent)
        if not jobs:
            return done
        code = _train(console, jobs, data, open_tracking(tracking, output_dir), share, output_dir)
        return code or done


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
    defaults |= {"plan_only": False, "records": None}
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


def _recorded(output_dir: Path, records: Value) -> tuple[RecordedRun, ...]:
    """The runs of ``output_dir``, and the ended ones of ``records``: others have no checkpoint."""
    own = {run.run_id: run for run in read_runs(OutputFolder(output_dir).records)}
    if records is None:
        return tuple(own.values())
    folder = Path(str(records))
    check_there("records", folder)
    elsewhere = {run.run_id: run for run in read_results(folder) if run.ended}
    return tuple((own | elsewhere).values())


def _check_places(given: Iterable[str], tasks: Sequence[str], models: Sequence[str]) -> None:
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
    tasks = tasks_of(tables, figures) if tables or figures else TASKS
    if "task" in given:
        chosen = alternatives(given["task"])
        tasks = tuple(task for task in tasks if task in chosen)
        if not tasks:
            raise ConfigError(
                f"task={','.join(chosen)}: is in none of the named tables and figures; leave them "
                "out, or change task"
            )
    return tasks


def _print_plan(
    console: Console,
    needs: Sequence[Need],
    recorded: Sequence[RecordedRun],
    data: LoadedData,
    workers: int,
) -> list[_Estimated]:
    """Say what is there, what is to be trained and what that costs; longest trainings first."""
    jobs = jobs_of(needs, workers)
    torch.set_num_threads(1)

    def probe(run: RunSettings) -> float:
        task = make_task(run.task, data[run.task, run.data])
        return Trainer(task, run.network, run.training).seconds_per_epoch(_PROBE_S)

    estimated = [_Estimated(job, seconds_of(job, recorded, probe)) for job in jobs]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting")
    for heading in ("runs", "epochs", "recorded", "cut off", "missing", "one core, at most"):
        table.add_column(heading, justify="right")
    for need in needs:
        seconds = sum(each.seconds for each in estimated if each.job.need is need)
        cut_off = sum(len(run.replicas) for run in need.unfinished)
        table.add_row(
            need.title,
            str(need.run.training.replicas),
            str(need.run.training.max_epochs),
            str(len(need.recorded)),
            str(cut_off or ""),
            str(len(need.missing) or ""),
            f"{duration(seconds)}" if seconds else "done",
        )
    console.print(table)
    whole = sum(each.seconds for each in estimated)
    if estimated:
        console.print(
            f"{len(estimated)} trainings, about {duration(whole)} of one core at most, "
            f"{duration(whole / min(workers, len(estimated)))} with {workers} at a time",
            highlight=False,
        )
    else:
        console.print("everything is recorded; nothing to train", highlight=False)
    return sorted(estimated, key=lambda each: -each.seconds)


def _write_plan(
    console: Console, jobs: Sequence[_Estimated], data: LoadedData, output_dir: Path
) -> None:
    """A folder to be carried to another machine, and what to call there and here."""
    new = [each.job for each in jobs if each.job.continues is None]
    if len(new) < len(jobs):
        console.print(
            f"{len(jobs) - len(new)} trainings were cut off here and are left out: their "
            "checkpoints are on this machine; reproduce without plan_only goes on with them"
        )
    if not new:
        return
    folder = make_unique_folder(OutputFolder(output_dir).plans, time.strftime("plan-%Y%m%d-%H%M%S"))
    names: dict[str, str] = {}
    runs = []
    for number, job in enumerate(new):
        own = data[job.run.task, job.run.data]
        name = names.setdefault(own.sha256, f"data-{len(names)}-{own.name}")
        title = f"{folder.name}-{number:03d}-{job.need.title}"
        runs.append((plan_run(title, job.run, own, {"source": ",".join(job.need.sources)}), name))
    write_plan(
        folder,
        runs,
        {names[one.sha256]: one.task_data for one in data.values() if one.sha256 in names},
    )
    for line in (
        f"{folder} holds {len(runs)} trainings. Copy it to a machine with torch, numpy and this "
        "package, and there, again after a cut-off:",
        f"  python -m dmu_search.engine {folder.name} OUT",
        "then copy OUT back, and here:",
        "  " + command("sync", str(OutputFolder(Path("OUT")).records), f"output_dir={output_dir}"),
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _train(
    console: Console,
    jobs: Sequence[_Estimated],
    data: LoadedData,
    tracking: Tracking,
    share: TrialShare,
    output_dir: Path,
) -> int:
    records, folders = tracking.recorder.folder, OutputFolder(output_dir).retrained
    plans = [
        planned(each.job, data[each.job.run.task, each.job.run.data], folders) for each in jobs
    ]
    stored = {key: shared(one) for key, one in data.items()}
    arguments = [
        (
            plan,
            each.job.run,
            stored[each.job.run.task, each.job.run.data],
            (folders / plan.name).resolve(),
            records.resolve(),
        )
        for plan, each in zip(plans, jobs, strict=True)
    ]
    progress = _Progress(console, jobs, [RecordTail(records / f"{p.name}.jsonl") for p in plans])
    failed = False
    with stop_on_signals(None) as stop:
        for ended in on_workers(
            _carry_out,
            arguments,
            cpus=share.cpus,
            gpus=share.gpus,
            stopped=lambda: stop.reason is not None,
        ):
            progress.follow(plans, tracking)
            failed |= progress.report(plans, ended)
    for name in progress.open_runs(plans):
        tracking.recorder.close_for(name, "KILLED")
    for line in where_to_look(tracking, [plan.name for plan in plans][:_FEW]):
        console.print(line, highlight=False, soft_wrap=True)
    if stop.reason is not None:
        console.print("interrupted; the same command goes on where this one stopped")
        return INTERRUPTED
    return SOME_FAILED if failed else DONE


def _carry_out(plan: PlannedRun, run: RunSettings, data: Data, folder: Path, records: Path) -> None:
    """In a worker, which writes files only; the command brings them into MLflow."""
    retrain(plan, run, data, folder=folder, recorder=Recorder(records), on_epoch=lambda _: None)


@dataclass
class _Progress:
    """What the records of the running trainings say."""

    console: Console
    jobs: Sequence[_Estimated]
    tails: Sequence[RecordTail]
    epochs: dict[int, int] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    over: int = 0
    spoke_at: float = field(default_factory=time.monotonic)

    def follow(self, plans: Sequence[PlannedRun], tracking: Tracking) -> None:
        """Pass new events on to MLflow, and count epochs."""
        for index, (plan, tail) in enumerate(zip(plans, self.tails, strict=True)):
            for event in tail.new_events():
                tracking.forward(plan.name, event)
                match event["event"]:
                    case "start":
                        self.open.add(index)
                    case "metrics":
                        self.epochs[index] = event["step"]
                    case "end":
                        self.open.discard(index)

    def report(self, plans: Sequence[PlannedRun], ended: Sequence[Ended]) -> bool:
        """Print what has ended and, every so often, what goes on; whether something failed."""
        for each in ended:
            self.over += 1
            name = plans[each.index].name
            what = "done" if each.error is None else f"[bold red]failed:[/] {escape(each.error)}"
            count = f"[{self.over}/{len(self.jobs)}]"
            self.console.print(f"{escape(count)} {name} {what}", highlight=False, soft_wrap=True)
        if time.monotonic() - self.spoke_at > _SPEAK_EVERY_S and self.open:
            self.spoke_at = time.monotonic()
            going = "  ".join(
                f"{plans[index].name} {self.epochs.get(index, 0)}"
                f"/{self.jobs[index].job.run.training.max_epochs}"
                for index in sorted(self.open)
            )
            self.console.print(f"epochs: {going}", highlight=False, soft_wrap=True)
        return any(each.error is not None for each in ended)

    def open_runs(self, plans: Sequence[PlannedRun]) -> list[str]:
        """Names of the trainings whose records were never closed."""
        return [plans[index].name for index in sorted(self.open)]
