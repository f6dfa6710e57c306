"""Training one configuration over several seeds, recorded, without a search."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from dmu_search.config.compose import as_yaml_value
from dmu_search.config.exported import write_run_file
from dmu_search.config.settings import RunSettings
from dmu_search.data import Data
from dmu_search.engine.metrics import replica_metrics, summary_metrics
from dmu_search.engine.training import EpochResult, Trainer
from dmu_search.errors import TrialError
from dmu_search.export import provenance
from dmu_search.folders import make_unique_folder
from dmu_search.records import RunStart
from dmu_search.tasks import make_task
from dmu_search.tracking import Tracking


@dataclass(frozen=True)
class Retrained:
    """What a retraining gave; tuples have one entry per replica.

    Attributes:
        name: of the recorded run.
        folder: with the configuration and the weights of the best epochs.
        metrics: of all splits at each replica's best epoch.
        best_epoch: that epoch.
        epochs: epochs trained.
    """

    name: str
    folder: Path
    metrics: Mapping[str, tuple[float, ...]]
    best_epoch: tuple[int, ...]
    epochs: int


def retrain(
    run: RunSettings,
    data: Data,
    *,
    output_dir: Path,
    tracking: Tracking,
    tags: Mapping[str, str],
    on_epoch: Callable[[EpochResult], None],
) -> Retrained:
    """Train all replicas to the end and evaluate each at its best epoch.

    Args:
        run: what to train.
        data: of the task.
        output_dir: gets ``retrained/<name>/``.
        tracking: where the run goes.
        tags: further tags of the run.
        on_epoch: told of every epoch.

    Raises:
        TrialError: all replicas diverged.
        StorageError: the folder cannot be written.
    """
    title = f"train-{run.task}-{run.model}-d{run.depth}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = make_unique_folder(output_dir / "retrained", title)
    name = folder.name
    recorder = tracking.recorder
    recorder.start(_run_start(name, run, data, tags))
    status = "KILLED"
    try:
        trainer = _trainer(run, data)
        result = _train(trainer, lambda each: _record(tracking, name, each, on_epoch))
        if all(result.diverged):
            status = "FAILED"
            raise TrialError(
                f"{name}: every replica diverged by epoch {result.epoch}; lower "
                "training.learning_rate"
            )
        metrics = trainer.evaluate_best()
        recorder.summarise(name, summary_metrics(metrics))
        _save(folder, run, data, trainer, metrics, name)
        for file in sorted(folder.iterdir()):
            recorder.attach(name, file)
        status = "FINISHED"
    finally:
        recorder.end(name, status)
    return Retrained(name, folder, metrics, result.best_epoch, result.epoch)


def _run_start(name: str, run: RunSettings, data: Data, tags: Mapping[str, str]) -> RunStart:
    params = {key: str(as_yaml_value(value)) for key, value in run.values().items()}
    own = {
        "task": run.task,
        "model": run.model,
        "depth": str(run.depth),
        "data.name": data.name,
        "data.sha256": data.sha256,
    }
    return RunStart(name, name, "retraining", params=params, tags={**own, **tags})


def _trainer(run: RunSettings, data: Data) -> Trainer:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Trainer(make_task(run.task, data, device=device), run.network, run.training)


def _train(trainer: Trainer, on_epoch: Callable[[EpochResult], None]) -> EpochResult:
    while True:
        result = trainer.run_epoch()
        on_epoch(result)
        if trainer.finished:
            return result


def _record(
    tracking: Tracking, name: str, result: EpochResult, on_epoch: Callable[[EpochResult], None]
) -> None:
    metrics = replica_metrics(result.metrics) | {"epoch_wall_time_s": result.wall_time_s}
    tracking.recorder.log(name, metrics, result.epoch)
    on_epoch(result)


def _save(
    folder: Path,
    run: RunSettings,
    data: Data,
    trainer: Trainer,
    metrics: Mapping[str, tuple[float, ...]],
    name: str,
) -> None:
    backend = trainer.backend.name
    source = provenance(study=name, data=data, metrics=summary_metrics(metrics), backend=backend)
    write_run_file(folder / "config.yaml", run, source)
    torch.save(trainer.best_state, folder / "best_weights.pt")
