"""Trainings written down, to be carried out on a machine that has only torch and numpy.

A plan is a folder: ``plan.json`` with the trainings, and one ``.npz`` for each data set, so that
the machine needs neither the data's own files nor anything that reads them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmu_search.engine.plans.runs import PlannedRun, carry_out
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks import Task, TaskData, task_class
from dmu_search.engine.training.trainer import EpochResult
from dmu_search.errors import StorageError
from dmu_search.folders import OutputFolder, make_folder, not_writable
from dmu_search.records import Recorder, RunStart, read_events

PLAN_FILE = "plan.json"
_FORMAT = 1


def write_plan(
    folder: Path, runs: Sequence[tuple[PlannedRun, str]], *, data: Mapping[str, TaskData]
) -> None:
    """Write a plan.

    Args:
        folder: new, gets the plan.
        runs: the trainings, each with the name of its data.
        data: by name.

    Raises:
        StorageError: the folder cannot be written.
    """
    make_folder(folder)
    entries = [
        {
            "start": asdict(run.start),
            "task": run.task,
            "network": asdict(run.network),
            "training": asdict(run.training),
            "data": name,
        }
        for run, name in runs
    ]
    try:
        for name, one in data.items():
            np.savez_compressed(folder / f"{name}.npz", **one.to_arrays())  # type: ignore[arg-type]
        text = json.dumps({"format": _FORMAT, "runs": entries}, indent=1)
        (folder / PLAN_FILE).write_text(text + "\n", encoding="utf-8")
    except OSError as fault:
        raise not_writable(folder, str(fault.strerror)) from None


def carry_out_plan(
    folder: Path,
    out: Path,
    *,
    device: str,
    on_begin: Callable[[PlannedRun], None],
    on_epoch: Callable[[EpochResult], None],
    on_problem: Callable[[str], None] = lambda problem: None,
) -> None:
    """Carry out what of a plan is not done yet; called again, it resumes.

    Args:
        folder: of the plan.
        out: gets ``records/`` and ``retrained/``, as under a search's ``output_dir``.
        device: ``cpu`` or ``cuda``.
        on_begin: told of every training.
        on_epoch: told of every epoch.
        on_problem: told why a training that was cut off begins again.

    Raises:
        StorageError: the plan cannot be read, or ``out`` not written.
        TrialError: all replicas of a training diverged.
    """
    recorder = Recorder(OutputFolder(out).records)
    tasks: dict[tuple[str, str], Task[Any, Any]] = {}
    for run, name in read_plan(folder):
        record = recorder.folder / f"{run.name}.jsonl"
        if record.exists() and _is_finished(record):
            continue
        on_begin(run)
        if (run.task, name) not in tasks:
            tasks[run.task, name] = _load_task(run.task, folder / f"{name}.npz", device=device)
        carry_out(
            run,
            tasks[run.task, name],
            folder=OutputFolder(out).retrained / run.name,
            recorder=recorder,
            on_epoch=on_epoch,
            on_problem=on_problem,
        )


def read_plan(folder: Path) -> list[tuple[PlannedRun, str]]:
    """The trainings of a plan, each with the name of its data.

    Raises:
        StorageError: it is no plan, or one of another version.
    """
    path = folder / PLAN_FILE
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["format"] != _FORMAT:
            raise StorageError(
                f"{path}: written by another version (format {tree['format']}, not {_FORMAT}); "
                "write it again with reproduce plan_only=true"
            )
        return [(_read_run(entry), entry["data"]) for entry in tree["runs"]]
    except FileNotFoundError:
        raise StorageError(
            f"{path}: no such file; write a plan with reproduce plan_only=true"
        ) from None
    except (ValueError, KeyError, TypeError) as fault:
        raise StorageError(
            f"{path}: is no plan ({fault}); write it again with reproduce plan_only=true"
        ) from None


def _read_run(entry: Mapping[str, Any]) -> PlannedRun:
    network = {**entry["network"], "widths": tuple(entry["network"]["widths"])}
    start = entry["start"]
    return PlannedRun(
        start=RunStart(**{**start, "datasets": tuple(start.get("datasets", ()))}),
        task=entry["task"],
        network=NetworkSettings(**network),
        training=TrainingSettings(**entry["training"]),
    )


def _is_finished(record: Path) -> bool:
    last = list(read_events(record))[-1:]
    return any(event["event"] == "end" and event["status"] != "KILLED" for event in last)


def _load_task(task: str, path: Path, *, device: str) -> Task[Any, Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            data = task_class(task).data_type.from_arrays(dict(arrays))
    except (OSError, ValueError, KeyError) as fault:
        raise StorageError(
            f"{path}: cannot be read ({fault}); write the plan again with reproduce plan_only=true"
        ) from None
    return task_class(task)(data, device=torch.device(device))
