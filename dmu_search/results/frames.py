"""Recorded runs and studies as data frames: one row per run, epoch and replica."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dmu_search.errors import StorageError
from dmu_search.folders import OutputFolder
from dmu_search.records import (
    Event,
    damaged_record,
    first_tags,
    raise_damage,
    read_record,
    record_files,
)
from dmu_search.results.trainings import epochs_of, status_of, value_of

# What every row has, in this order; then come the metrics, then the settings.
COLUMNS = (
    "run_id",
    "kind",
    "status",
    "study",
    "trial",
    "task",
    "model",
    "depth",
    "data_name",
    "replica",
    "epoch",
    "epoch_wall_time_s",
)


def runs_frame(
    output_dir: str | Path = "runs", *, on_damage: Callable[[StorageError], None] = raise_damage
) -> pd.DataFrame:
    """Every epoch of every recorded training: of trials, finalists, ``train`` and ``reproduce``.

    Args:
        output_dir: folder of all results, or a folder of records itself.
        on_damage: told of each damaged record; if it does not raise, the others are read.

    Returns:
        A row per run, epoch and replica. ``run_id``; ``kind`` (``trial``, ``finalist``,
        ``retraining``); ``status`` (``FINISHED``, ``FAILED``, ``KILLED``; missing while it was
        never closed); ``study`` and ``trial``, where there is one; ``task``, ``model``, ``depth``;
        ``data_name``; ``replica`` and ``epoch``, from 0 and from 1; ``epoch_wall_time_s``, of all
        replicas together. Then each metric after that epoch by its name, as ``val_nll_nats``, and
        each setting by its dotted key.

    Raises:
        StorageError: there is no such folder; or a record is damaged, and nobody takes it.
    """
    records = OutputFolder(Path(output_dir)).records
    folder = records if records.is_dir() else Path(output_dir)
    if not folder.is_dir():
        raise StorageError(f"{folder}: there is no such folder; name that of `output_dir`")
    rows: list[dict[str, Any]] = []
    for path in record_files(folder):
        try:
            rows += _rows(path)
        except StorageError as fault:
            on_damage(fault)
    frame = pd.DataFrame(rows)
    return frame if rows else pd.DataFrame(columns=list(COLUMNS))


def _rows(path: Path) -> list[dict[str, Any]]:
    events = read_record(path)
    starts = [event for event in events if event["event"] == "start"]
    if not starts or starts[0]["kind"] in ("study", "comparison"):
        return []
    try:
        identity = _identity(path, events, start=starts[-1])
        params = starts[-1]["params"].items()
        # MLflow's charts have the searched keys of a trial apart from the others.
        texts = {name.removeprefix("unsearched/"): text for name, text in params}
        settings = {name: value_of(text) for name, text in texts.items()}
        replicas = int(texts.get("training.replicas", 1))
        return [
            {**identity, **row, **settings}
            for event in epochs_of(events)
            for row in _replicas(event["step"], event["values"], replicas=replicas)
        ]
    except (KeyError, ValueError, TypeError) as fault:
        raise damaged_record(path, f"is not whole ({type(fault).__name__}: {fault})") from None


def _identity(path: Path, events: Sequence[Event], *, start: Event) -> dict[str, Any]:
    tags = start["tags"]
    study = tags.get("study")
    # A trial was trained on what its study names.
    named = tags if study is None else {**first_tags(path.with_name(f"{study}.jsonl")), **tags}
    trial = tags.get("trial_number")
    return {
        "run_id": path.stem,
        "kind": start["kind"],
        "status": status_of(events),
        "study": study,
        "trial": None if trial is None else int(trial),
        "task": tags["task"],
        "model": tags["model"],
        "depth": int(tags["depth"]),
        "data_name": named.get("data.name"),
    }


def _replicas(epoch: int, values: Mapping[str, float], *, replicas: int) -> list[dict[str, Any]]:
    """A row per replica; what is of all together is in each."""
    shared = {name: value for name, value in values.items() if "/" not in name}
    rows = []
    for replica in range(replicas):
        own = {
            name.partition("/")[0]: value
            for name, value in values.items()
            if re.fullmatch(rf".*/replica_{replica}", name)
        }
        rows.append(
            {
                "replica": replica,
                "epoch": epoch,
                "epoch_wall_time_s": shared.get("epoch_wall_time_s"),
                **{n: v for n, v in {**shared, **own}.items() if n != "epoch_wall_time_s"},
            }
        )
    return rows
