"""Carrying out a training that was planned: recorded, and resumed after a kill."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dmu_search.engine.plans.machine import machine_tags
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.base import Task
from dmu_search.engine.training.metrics import replica_metrics, summary_metrics
from dmu_search.engine.training.snapshots import resumed
from dmu_search.engine.training.trainer import EpochResult, Trainer
from dmu_search.errors import TrialError
from dmu_search.folders import claimed, written_whole
from dmu_search.records import Recorder, RunStart

WEIGHTS_FILE = "best_weights.pt"
CHECKPOINT_FILE = "checkpoint.pt"
# At most one second in so many goes into checkpoints.
_SAVING_SHARE = 20.0


@dataclass(frozen=True)
class PlannedRun:
    """A training to be carried out, complete but for its task's data.

    Attributes:
        start: what its record begins with.
        task: a key of ``dmu_search.names.TASKS``.
        network: what to train.
        training: how to.
    """

    start: RunStart
    task: str
    network: NetworkSettings
    training: TrainingSettings

    @property
    def name(self) -> str:
        """Of the run, and of its record."""
        return self.start.run_id


@dataclass(frozen=True)
class Trained:
    """What a training gave; tuples have one entry per replica.

    Attributes:
        metrics: of all splits at each replica's best epoch.
        best_epoch: that epoch.
        epochs: epochs trained.
        diverged: whether the replica diverged on the way.
    """

    metrics: Mapping[str, tuple[float, ...]]
    best_epoch: tuple[int, ...]
    epochs: int
    diverged: tuple[bool, ...]


def carry_out(
    run: PlannedRun,
    task: Task[Any, Any],
    *,
    folder: Path,
    recorder: Recorder,
    on_epoch: Callable[[EpochResult], None],
    evaluate: Callable[[Trainer], dict[str, tuple[float, ...]]] = Trainer.evaluate_best,
    finish: Callable[[Trainer, Trained], None] = lambda trainer, trained: None,
    on_problem: Callable[[str], None] = lambda problem: None,
    checkpoint_every_s: float = 10.0,
) -> Trained:
    """Train all replicas to the end and evaluate each at its best epoch.

    A training that was cut off is resumed from its last checkpoint, in the same record, and gives
    what it would have given. Where the checkpoint is of no use, it begins again; epochs that come
    out otherwise then take the place of those recorded.

    Args:
        run: what to train.
        task: its task, over its data.
        folder: gets the weights of the best epochs, and the checkpoint while training goes on.
        recorder: keeps what comes out.
        on_epoch: told of every epoch.
        evaluate: gives the results of the trained replicas.
        finish: called before the record is closed.
        on_problem: told, in a sentence, why a training that was cut off begins again.
        checkpoint_every_s: seconds between checkpoints; more where saving one takes long.

    Raises:
        TrialError: all replicas diverged.
        StorageError: the folder cannot be written, or another process trains the run.
    """
    with claimed(folder):
        recorder.start(run.start)
        status = "KILLED"
        try:
            trainer = _trainer(
                run,
                task,
                checkpoint=folder / CHECKPOINT_FILE,
                recorder=recorder,
                on_problem=on_problem,
            )
            recorder.tag(run.name, machine_tags(trainer))
            _train(
                trainer,
                run.name,
                checkpoint=folder / CHECKPOINT_FILE,
                recorder=recorder,
                on_epoch=on_epoch,
                checkpoint_every_s=checkpoint_every_s,
            )
            state = trainer.standing
            if all(state.diverged):
                status = "FAILED"
                recorder.summarise(run.name, _standing_metrics(state))
                raise TrialError(
                    f"{run.name}: every replica diverged by epoch {state.epoch}; lower "
                    "training.learning_rate"
                )
            trained = Trained(evaluate(trainer), state.best_epoch, state.epoch, state.diverged)
            recorder.summarise(
                run.name, summary_metrics(trained.metrics) | _standing_metrics(state)
            )
            save_state(folder / WEIGHTS_FILE, trainer.best_state)
            recorder.attach(run.name, folder / WEIGHTS_FILE)
            finish(trainer, trained)
            status = "FINISHED"
        finally:
            recorder.end(run.name, status)
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        return trained


def _trainer(
    run: PlannedRun,
    task: Task[Any, Any],
    *,
    checkpoint: Path,
    recorder: Recorder,
    on_problem: Callable[[str], None],
) -> Trainer:
    """The trainer of a run, where its checkpoint leaves it if that is of use."""

    def new() -> Trainer:
        return Trainer(task, run.network, training=run.training)

    if not checkpoint.exists():
        return new()
    trainer = resumed(new, checkpoint)
    if trainer is None:
        problem = f"{checkpoint}: is damaged or of another network; the training begins again"
    elif recorder.lacks(run.name, trainer.epoch):
        problem = f"{run.name}: epochs are missing from its record; the training begins again"
    else:
        return trainer
    recorder.tag(run.name, {"problem": problem})
    on_problem(problem)
    return new()


def _train(
    trainer: Trainer,
    name: str,
    *,
    checkpoint: Path,
    recorder: Recorder,
    on_epoch: Callable[[EpochResult], None],
    checkpoint_every_s: float,
) -> None:
    due_at = time.monotonic() + checkpoint_every_s
    while not trainer.finished:
        result = trainer.run_epoch()
        metrics = replica_metrics(result.metrics) | {"epoch_wall_time_s": result.wall_time_s}
        recorder.log(name, metrics, step=result.epoch)
        on_epoch(result)
        began = time.monotonic()
        if trainer.finished or began >= due_at:
            save_state(checkpoint, trainer.state_dict())
            saved = time.monotonic()
            due_at = saved + max(checkpoint_every_s, _SAVING_SHARE * (saved - began))


def _standing_metrics(state: EpochResult) -> dict[str, float]:
    return replica_metrics(
        {
            "best_epoch": [float(epoch) for epoch in state.best_epoch],
            "diverged": [float(each) for each in state.diverged],
        }
    )


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write weights or a checkpoint whole, or leave the file that was there.

    Args:
        path: of the file.
        state: tensors and plain values.

    Raises:
        StorageError: it cannot be written.
    """
    with written_whole(path) as file:
        try:
            torch.save(dict(state), file)
        except RuntimeError as fault:
            # Torch hides the disk's own error behind one about its archive.
            raise fault.__context__ or fault from None
