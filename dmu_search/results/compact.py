"""Recorded trainings as three CSV files, small enough to be committed.

``runs.csv`` has a line per training, ``replicas.csv`` one per replica with its metrics, and
``curves.csv`` one per replica with its validation objective after each epoch, in single precision.
Lines are sorted, so that another training only adds lines.
"""

import calendar
import csv
import io
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dmu_search.config.compose import as_yaml_value
from dmu_search.config.keys import KEYS
from dmu_search.config.settings import RunSettings
from dmu_search.engine.plans.machine import COMPUTED_BY
from dmu_search.engine.tasks import task_class
from dmu_search.engine.training.metrics import replica_metrics, summary_metrics
from dmu_search.errors import StorageError
from dmu_search.folders import write_whole
from dmu_search.names import MODELS, TASKS
from dmu_search.records import Event, raise_damage
from dmu_search.results.trainings import RecordedRun, Replica, read_runs

RUNS, REPLICAS, CURVES = "runs.csv", "replicas.csv", "curves.csv"
_RUN_COLUMNS = (
    "run_id",
    "task",
    "model",
    "depth",
    "status",
    "epochs",
    "seconds",
    "data_name",
    "data_sha256",
    "settings",
)
# Empty for trainings that were recorded before these were; files of then have no such columns.
_ORIGIN_COLUMNS = (*COMPUTED_BY, "resumes")
_REPLICA_COLUMNS = ("run_id", "seed", "best_epoch")

Line = Mapping[str, str]


def read_results(
    folder: Path, *, on_damage: Callable[[StorageError], None] = raise_damage
) -> tuple[RecordedRun, ...]:
    """All trainings in ``folder``, compact or as records (``*.jsonl``), by run id.

    Of a training that is there in both forms the record counts.

    Args:
        folder: of both.
        on_damage: told of each damaged run; if it does not raise, the others are read.

    Raises:
        StorageError: a file is damaged, and nobody takes it.
    """
    compact = read_compact(folder, on_damage=on_damage) if (folder / RUNS).exists() else ()
    records = read_runs(folder, on_damage=on_damage)
    runs = {run.run_id: run for run in (*compact, *records)}
    return tuple(runs[run_id] for run_id in sorted(runs))


def check_compact(folder: Path) -> None:
    """Find out whether trainings can be added to those in ``folder``.

    Raises:
        StorageError: what is there is damaged.
    """
    _kept(folder)


def add_to_compact(runs: Iterable[RecordedRun], folder: Path) -> int:
    """Add the trainings that ended to those in ``folder``; returns how many it has now.

    Raises:
        StorageError: what is there is damaged, or cannot be written.
    """
    known = {run.run_id: run for run in _kept(folder)}
    known |= {run.run_id: run for run in runs if run.ended}
    ordered = [known[run_id] for run_id in sorted(known)]
    for name, text in compact_files(ordered).items():
        write_whole(folder / name, text.encode())
    return len(ordered)


def _kept(folder: Path) -> tuple[RecordedRun, ...]:
    return read_compact(folder) if (folder / RUNS).exists() else ()


def compact_files(runs: Sequence[RecordedRun]) -> dict[str, str]:
    """The text of each file for these trainings."""
    replicas = [(run.run_id, each) for run in runs for each in run.replicas]
    metrics = sorted({name for _, each in replicas for name in each.metrics})
    return {
        RUNS: csv_text((*_RUN_COLUMNS, *_ORIGIN_COLUMNS), map(_run_line, runs)),
        REPLICAS: csv_text(
            (*_REPLICA_COLUMNS, *metrics),
            (
                (run_id, each.seed, each.best_epoch, *(each.metrics.get(m, "") for m in metrics))
                for run_id, each in replicas
            ),
        ),
        CURVES: csv_text(
            ("run_id", "seed", "validation_objective"),
            ((run_id, each.seed, _curve_text(each.curve)) for run_id, each in replicas),
        ),
    }


def _run_line(run: RecordedRun) -> tuple[object, ...]:
    settings = {name: as_yaml_value(value) for name, value in sorted(run.run.values().items())}
    return (
        run.run_id,
        run.run.task,
        run.run.model,
        run.run.depth,
        run.status,
        run.epochs,
        run.seconds,
        run.data_name,
        run.data_sha256,
        json.dumps(settings),
        *(run.computed_by.get(name, "") for name in COMPUTED_BY),
        "" if run.resumes is None else run.resumes,
    )


def csv_text(headings: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A CSV file with headings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(lines)
    return text.getvalue()


def _curve_text(curve: Sequence[float]) -> str:
    return " ".join(str(np.float32(value)) for value in curve)


def read_compact(
    folder: Path, *, on_damage: Callable[[StorageError], None] = raise_damage
) -> tuple[RecordedRun, ...]:
    """The trainings in ``folder``, by run id; those under settings of another version are left out.

    Args:
        folder: of the three files.
        on_damage: told of each damaged run; if it does not raise, the others are read.

    Raises:
        StorageError: a file is missing or damaged, and nobody takes it.
    """
    try:
        runs, replicas, curves = (
            _lines(folder / RUNS, _RUN_COLUMNS),
            _lines(folder / REPLICAS, _REPLICA_COLUMNS),
            _lines(folder / CURVES, ("run_id", "seed", "validation_objective")),
        )
    except StorageError as fault:
        on_damage(fault)
        return ()
    curve_of = {(line["run_id"], line["seed"]): line["validation_objective"] for line in curves}
    lines_of: dict[str, list[Line]] = {}
    for line in replicas:
        lines_of.setdefault(line["run_id"], []).append(line)
    found = []
    for line in runs:
        try:
            found.append(_run(line, lines_of[line["run_id"]], curves=curve_of))
        except (KeyError, ValueError, TypeError, AttributeError):
            on_damage(_damaged(folder / RUNS, line))
    return tuple(run for run in found if run is not None)


def _replica(line: Line, curve: str) -> Replica:
    return Replica(
        seed=int(line["seed"]),
        best_epoch=int(line["best_epoch"]),
        metrics={
            name: float(text)
            for name, text in line.items()
            if name not in _REPLICA_COLUMNS and text != ""
        },
        curve=tuple(float(np.float32(text)) for text in curve.split()),
    )


def _run(
    line: Line, replicas: Sequence[Line], *, curves: Mapping[tuple[str, str], str]
) -> RecordedRun | None:
    settings = json.loads(line["settings"])
    known = line["task"] in TASKS and line["model"] in MODELS
    if not known or not set(settings) <= set(KEYS):
        return None
    values = {name: KEYS[name].check(value) for name, value in settings.items()}
    run = RunSettings.from_values(
        line["task"], line["model"], depth=int(line["depth"]), values=values
    )
    if len(replicas) != run.training.replicas:
        raise ValueError("replicas are missing")
    return RecordedRun(
        run_id=line["run_id"],
        run=run,
        data_sha256=line["data_sha256"],
        data_name=line["data_name"],
        status=line["status"],
        epochs=int(line["epochs"]),
        seconds=float(line["seconds"]),
        replicas=tuple(_replica(each, curves[each["run_id"], each["seed"]]) for each in replicas),
        computed_by={name: text for name in COMPUTED_BY if (text := line.get(name))},
        resumes=int(text) if (text := line.get("resumes")) else None,
    )


def events_of(run: RecordedRun) -> list[Event]:
    """A training as the events of its record, as far as the three files tell them.

    They hold no times: it began when its name says, and all its epochs took the same time.
    """
    objective = f"val_{task_class(run.run.task).objective}"
    began_ms, per_epoch_ms = _began_ms(run.run_id), 1000 * run.seconds / max(run.epochs, 1)

    def event(name: str, epochs: int, *, content: Mapping[str, object]) -> Event:
        return {"event": name, "time_ms": began_ms + round(epochs * per_epoch_ms), **content}

    params = {name: str(as_yaml_value(value)) for name, value in run.run.values().items()}
    tags = {"task": run.run.task, "model": run.run.model, "depth": str(run.run.depth)}
    tags |= {"data.name": run.data_name, "data.sha256": run.data_sha256, **run.computed_by}
    start = {"name": run.run_id, "kind": "retraining", "parent_id": None}
    events = [event("start", 0, content={**start, "params": params, "tags": tags})]
    for epoch in range(1, run.epochs + 1):
        losses = tuple(each.curve[epoch - 1] for each in run.replicas)
        values = replica_metrics({objective: losses})
        events.append(event("metrics", epoch, content={"step": epoch, "values": values}))
    summary = summary_metrics(_at_best(run.replicas))
    events.append(event("metrics", run.epochs, content={"step": run.epochs, "values": summary}))
    return [*events, event("end", run.epochs, content={"status": run.status})]


def _at_best(replicas: Sequence[Replica]) -> dict[str, tuple[float, ...]]:
    """Metrics at the best epoch, an entry per replica."""
    names = sorted({name for each in replicas for name in each.metrics})
    values = {name: tuple(each.metrics.get(name, math.nan) for each in replicas) for name in names}
    return values | {"best_epoch": tuple(float(each.best_epoch) for each in replicas)}


def _began_ms(run_id: str) -> int:
    """When a run began, by the end of its name; 0 where that does not say it."""
    found = re.search(r"(\d{8}-\d{6})(-\d+)?$", run_id)
    if found is None:
        return 0
    return calendar.timegm(time.strptime(found[1], "%Y%m%d-%H%M%S")) * 1000


# A curve of twenty thousand epochs is longer than what the reader takes by itself.
csv.field_size_limit(2**31 - 1)


def _lines(path: Path, columns: Sequence[str]) -> list[Line]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file)
            if missing := set(columns) - set(lines.fieldnames or ()):
                raise ValueError(f"no column {', '.join(sorted(missing))}")
            return list(lines)
    except (OSError, ValueError, csv.Error) as fault:
        raise StorageError(
            f"{path}: cannot be read ({fault}); restore all three of {RUNS}, {REPLICAS} and "
            f"{CURVES}"
        ) from None


def _damaged(path: Path, line: Line) -> StorageError:
    return StorageError(
        f"{path}: the line of run {line.get('run_id')} does not fit the other files; restore all "
        f"three of {RUNS}, {REPLICAS} and {CURVES}"
    )
