"""Recorded trainings as three CSV files, small enough to be committed.

``runs.csv`` has a line per training, ``replicas.csv`` one per replica with its metrics, and
``curves.csv`` one per replica with its validation objective after each epoch, in single precision.
Lines are sorted, so that another training only adds lines.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dmu_search.config.compose import as_yaml_value
from dmu_search.config.keys import KEYS
from dmu_search.config.settings import RunSettings
from dmu_search.errors import StorageError
from dmu_search.folders import write_whole
from dmu_search.names import MODELS, TASKS
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
_REPLICA_COLUMNS = ("run_id", "seed", "best_epoch")

Line = Mapping[str, str]


def read_results(folder: Path) -> tuple[RecordedRun, ...]:
    """All trainings in ``folder``, compact or as records (``*.jsonl``), by run id.

    Of a training that is there in both forms the record counts.

    Raises:
        StorageError: a file is damaged.
    """
    compact = read_compact(folder) if (folder / RUNS).exists() else ()
    runs = {run.run_id: run for run in (*compact, *read_runs(folder))}
    return tuple(runs[run_id] for run_id in sorted(runs))


def add_to_compact(runs: Iterable[RecordedRun], folder: Path) -> int:
    """Add the trainings that ended to those in ``folder``; returns how many it has now.

    Raises:
        StorageError: what is there is damaged, or cannot be written.
    """
    known = {run.run_id: run for run in read_compact(folder)} if (folder / RUNS).exists() else {}
    known |= {run.run_id: run for run in runs if run.ended}
    ordered = [known[run_id] for run_id in sorted(known)]
    for name, text in compact_files(ordered).items():
        write_whole(folder / name, text.encode())
    return len(ordered)


def compact_files(runs: Sequence[RecordedRun]) -> dict[str, str]:
    """The text of each file for these trainings."""
    replicas = [(run.run_id, each) for run in runs for each in run.replicas]
    metrics = sorted({name for _, each in replicas for name in each.metrics})
    return {
        RUNS: _text(_RUN_COLUMNS, map(_run_line, runs)),
        REPLICAS: _text(
            (*_REPLICA_COLUMNS, *metrics),
            (
                (run_id, each.seed, each.best_epoch, *(each.metrics.get(m, "") for m in metrics))
                for run_id, each in replicas
            ),
        ),
        CURVES: _text(
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
    )


def _text(headings: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(lines)
    return text.getvalue()


def _curve_text(curve: Sequence[float]) -> str:
    return " ".join(str(np.float32(value)) for value in curve)


def read_compact(folder: Path) -> tuple[RecordedRun, ...]:
    """The trainings in ``folder``, by run id; those under settings of another version are left out.

    Raises:
        StorageError: a file is missing or damaged.
    """
    curves = {
        (line["run_id"], line["seed"]): line["validation_objective"]
        for line in _lines(folder / CURVES)
    }
    replicas: dict[str, list[Replica]] = {}
    for line in _lines(folder / REPLICAS):
        with_curve = _checked(folder / REPLICAS, line, curves)
        replicas.setdefault(line["run_id"], []).append(with_curve)
    runs = (_run(folder / RUNS, line, replicas) for line in _lines(folder / RUNS))
    return tuple(run for run in runs if run is not None)


def _checked(path: Path, line: Line, curves: Mapping[tuple[str, str], str]) -> Replica:
    try:
        return _replica(line, curves[line["run_id"], line["seed"]])
    except (KeyError, ValueError, TypeError):
        raise _damaged(path, line) from None


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


def _run(path: Path, line: Line, replicas: Mapping[str, Sequence[Replica]]) -> RecordedRun | None:
    try:
        settings = json.loads(line["settings"])
        known = line["task"] in TASKS and line["model"] in MODELS
        if not known or not set(settings) <= set(KEYS):
            return None
        values = {name: KEYS[name].check(value) for name, value in settings.items()}
        return RecordedRun(
            run_id=line["run_id"],
            run=RunSettings.from_values(line["task"], line["model"], int(line["depth"]), values),
            data_sha256=line["data_sha256"],
            data_name=line["data_name"],
            status=line["status"],
            epochs=int(line["epochs"]),
            seconds=float(line["seconds"]),
            replicas=tuple(replicas[line["run_id"]]),
        )
    except (KeyError, ValueError, TypeError):
        raise _damaged(path, line) from None


def _lines(path: Path) -> Iterator[Line]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise StorageError(f"{path}: cannot be read ({fault}); restore the file") from None


def _damaged(path: Path, line: Line) -> StorageError:
    return StorageError(
        f"{path}: the line of run {line.get('run_id')} does not fit the other files; restore all "
        f"three of {RUNS}, {REPLICAS} and {CURVES}"
    )
