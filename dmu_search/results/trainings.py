"""Recorded trainings, replica by replica."""

import ast
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dmu_search.config.keys import KEYS, Value
from dmu_search.config.settings import RunSettings
from dmu_search.engine.plans.machine import COMPUTED_BY
from dmu_search.engine.tasks import task_class
from dmu_search.errors import StorageError
from dmu_search.records import Event, damaged_record, raise_damage, read_record, record_files

# What tables and figures are made of. Finalists choose settings, so none of them may show theirs.
_KINDS = ("retraining",)


@dataclass(frozen=True)
class RecordedRun:
    """A training as its record tells it.

    Attributes:
        run_id: of the record.
        run: its settings, seeds, replicas and epochs included.
        data_sha256: of what it was trained on.
        data_name: name of that.
        status: ``FINISHED``, ``FAILED`` or ``KILLED``; None while it was never closed.
        epochs: epochs recorded.
        seconds: spent in those epochs.
        replicas: one entry each; they trained as one program.
        computed_by: ``commit``, ``engine`` (backend and build), ``processor``, ``torch`` and
            ``threads`` as far as they are known; where a resume changed one, the values in turn.
        resumes: how often it was taken up again; None where that is not known.
    """

    run_id: str
    run: RunSettings
    data_sha256: str
    data_name: str
    status: str | None
    epochs: int
    seconds: float
    replicas: tuple["Replica", ...]
    computed_by: Mapping[str, str] = field(default_factory=dict)
    resumes: int | None = None

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train: it finished, or every replica diverged."""
        return self.status in ("FINISHED", "FAILED")


@dataclass(frozen=True)
class Replica:
    """One replica of a recorded run.

    Attributes:
        seed: its own.
        best_epoch: epoch of its best validation objective, 0 if it had none.
        metrics: of all splits at that epoch, as ``test_nll_nats``; empty until the run finished.
        curve: validation objective after each epoch, in single precision as it was computed; nan
            once it diverged.
    """

    seed: int
    best_epoch: int
    metrics: Mapping[str, float]
    curve: tuple[float, ...]

    @property
    def diverged(self) -> bool:
        """Whether training broke down at some epoch."""
        return any(math.isnan(value) for value in self.curve)


def read_runs(
    folder: Path, *, on_damage: Callable[[StorageError], None] = raise_damage
) -> tuple[RecordedRun, ...]:
    """All recorded trainings in ``folder`` (``*.jsonl``), by run id; those of searches not.

    A record whose settings this version does not know is left out.

    Args:
        folder: of the records.
        on_damage: told of each damaged record; if it does not raise, the others are read.

    Raises:
        StorageError: a record is damaged, and nobody takes it.
    """
    runs = []
    for path in record_files(folder):
        try:
            runs.append(_read(path))
        except StorageError as fault:
            on_damage(fault)
    return tuple(run for run in runs if run is not None)


def read_run(path: Path) -> RecordedRun | None:
    """The recorded training of one file, a finalist's too; None where nothing was begun.

    Raises:
        StorageError: the record is damaged.
    """
    return _read(path, kinds=(*_KINDS, "finalist")) if path.is_file() else None


def cut_off(
    runs: Iterable[RecordedRun], run: RunSettings, *, data_sha256: str
) -> RecordedRun | None:
    """The training of exactly ``run``, its seeds and epochs included, that was never finished.

    Args:
        runs: that are recorded.
        run: the settings.
        data_sha256: of what it trains on.

    Returns:
        The one that got furthest; None if there is none.
    """
    identity = (run.task, run.model, run.depth, run.values())
    same = [
        each
        for each in runs
        if not each.ended
        and each.data_sha256 == data_sha256
        and (each.run.task, each.run.model, each.run.depth, each.run.values()) == identity
    ]
    return max(same, key=lambda each: each.epochs, default=None)


def _read(path: Path, *, kinds: Sequence[str] = _KINDS) -> RecordedRun | None:
    events = read_record(path)
    if not events or events[0].get("kind") not in kinds:
        return None
    try:
        return _run_of(path.stem, events)
    except (KeyError, ValueError, TypeError) as fault:
        raise damaged_record(path, f"is not whole ({type(fault).__name__}: {fault})") from None


def _run_of(run_id: str, events: Sequence[Event]) -> RecordedRun | None:
    starts = [event for event in events if event["event"] == "start"]
    start = starts[-1]
    run = _settings(start["params"], start["tags"])
    if run is None:
        return None
    metrics = [event for event in events if event["event"] == "metrics"]
    objective = f"val_{task_class(run.task).objective}"
    epochs = epochs_of(events)
    summary = {
        name: value
        for event in metrics
        if "epoch_wall_time_s" not in event["values"]
        for name, value in event["values"].items()
    }
    return RecordedRun(
        run_id=run_id,
        run=run,
        data_sha256=start["tags"]["data.sha256"],
        data_name=start["tags"]["data.name"],
        status=status_of(events),
        epochs=len(epochs),
        seconds=sum(event["values"]["epoch_wall_time_s"] for event in epochs),
        replicas=tuple(
            _replica(run, index, objective=objective, epochs=epochs, summary=summary)
            for index in range(run.training.replicas)
        ),
        computed_by=_computed_by(events),
        resumes=len(starts) - 1,
    )


def _computed_by(events: Sequence[Event]) -> dict[str, str]:
    """What the sessions of a training were computed by."""
    told = [event["tags"] for event in events if event["event"] in ("start", "tags")]
    values = {
        name: dict.fromkeys(tags[name] for tags in told if name in tags) for name in COMPUTED_BY
    }
    return {name: ", then ".join(each) for name, each in values.items() if each}


def status_of(events: Sequence[Event]) -> str | None:
    """``FINISHED``, ``FAILED`` or ``KILLED``; None while the run was never closed."""
    # Tags and models may come after the end.
    last = [event for event in events if event["event"] not in ("tags", "model")][-1]
    return last["status"] if last["event"] == "end" else None


def epochs_of(events: Sequence[Event]) -> list[Event]:
    """The events with the metrics of an epoch each, from the first on.

    Raises:
        ValueError: one is missing.
    """
    epochs = [
        event
        for event in events
        if event["event"] == "metrics" and "epoch_wall_time_s" in event["values"]
    ]
    if [event["step"] for event in epochs] != list(range(1, len(epochs) + 1)):
        raise ValueError("epochs are missing")
    return epochs


def _replica(
    run: RunSettings,
    index: int,
    *,
    objective: str,
    epochs: Sequence[Event],
    summary: Mapping[str, float],
) -> Replica:
    suffix = "" if run.training.replicas == 1 else f"/replica_{index}"
    curve = (event["values"][f"{objective}{suffix}"] for event in epochs)
    splits = ("train_", "best_val_", "test_")
    metrics = {
        name.removesuffix(suffix).removeprefix("best_"): value
        for name, value in summary.items()
        if name.startswith(splits) and name.endswith(suffix) and ("/" in name) == bool(suffix)
    }
    best_epoch = summary.get(f"best_epoch{suffix}", math.nan)
    return Replica(
        seed=run.training.seed + index,
        best_epoch=0 if math.isnan(best_epoch) else int(best_epoch),
        metrics=metrics,
        curve=tuple(float(np.float32(value)) for value in curve),
    )


def _settings(params: Mapping[str, str], tags: Mapping[str, str]) -> RunSettings | None:
    """The settings that a record's texts stand for; None if this version does not know them."""
    try:
        values = {name: KEYS[name].check(value_of(text)) for name, text in params.items()}
        task, model = (str(KEYS[name].check(tags[name])) for name in ("task", "model"))
        return RunSettings.from_values(task, model, depth=int(tags["depth"]), values=values)
    except (KeyError, ValueError, TypeError):
        return None


def value_of(text: str) -> Value:
    """A setting from its text in a record."""
    try:
        value: Value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value
