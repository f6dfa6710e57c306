"""Training one configuration over several seeds, recorded, without a search."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from dmu_search.config.compose import as_yaml_value
from dmu_search.config.settings import RunSettings
from dmu_search.data import Data
from dmu_search.data.loading import described_splits, final_metrics, make_task
from dmu_search.engine.kernels.backend import BackendChoice
from dmu_search.engine.networks.module import describe
from dmu_search.engine.plans.runs import PlannedRun, Trained, carry_out
from dmu_search.engine.tasks import task_class
from dmu_search.engine.training.metrics import summary_metrics
from dmu_search.engine.training.passes import training_backend
from dmu_search.engine.training.trainer import EpochResult, Trainer
from dmu_search.names import TASKS, signed_loss
from dmu_search.records import Recorder, RunStart
from dmu_search.retraining.exported import write_run_file
from dmu_search.retraining.provenance import provenance
from dmu_search.tracking.models import MODEL_FOLDER, write_model
from dmu_search.tracking.names import short_study
from dmu_search.tracking.origin import code_commit

CONFIG_FILE = "config.yaml"


def plan_run(
    name: str,
    run: RunSettings,
    *,
    data: Data,
    tags: Mapping[str, str],
    study: str | None = None,
) -> PlannedRun:
    """The training of ``run``, as its record will describe it.

    Args:
        name: of the run.
        run: what is trained.
        data: on what.
        tags: by which the run is found, beside its own.
        study: whose finalist it is; None for a training of its own.
    """
    params = {key: str(as_yaml_value(value)) for key, value in run.values().items()}
    own = {
        "task": run.task,
        "model": run.model,
        "depth": str(run.depth),
        "data.name": data.name,
        "data.sha256": data.sha256,
        "commit": code_commit(),
    }
    start = RunStart(
        name,
        short_study(name, run.task),
        "retraining" if study is None else "finalist",
        parent_id=study,
        params=params,
        tags={**own, **tags},
        datasets=described_splits(run.task, run.data, data=data),
    )
    return PlannedRun(start, run.task, run.network, run.training)


def retraining_backend(run: RunSettings) -> BackendChoice:
    """What ``retrain`` computes with on this machine, and why."""
    return training_backend(
        task_class(run.task), _device(), dtype=torch.float32, network=run.network
    )


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def retrain(
    planned: PlannedRun,
    run: RunSettings,
    *,
    data: Data,
    folder: Path,
    recorder: Recorder,
    on_epoch: Callable[[EpochResult], None],
    on_problem: Callable[[str], None] = lambda problem: None,
) -> Trained:
    """Carry out ``planned``, the training of ``run``; its configuration is kept with the weights.

    The replica with the best validation result is kept as a model of its own, for ``generate``.

    Args:
        planned: by ``plan_run``.
        run: what is trained.
        data: of the task.
        folder: gets ``config.yaml``, the weights of the best epochs, and ``model/``.
        recorder: keeps what comes out.
        on_epoch: told of every epoch.
        on_problem: told why a training that was cut off begins again.

    Raises:
        TrialError: all replicas diverged.
        StorageError: the folder cannot be written.
    """
    task = make_task(run.task, data, device=_device())

    def keep_config(trainer: Trainer, trained: Trained) -> None:
        metrics = summary_metrics(trained.metrics)
        source = provenance(
            study=planned.name, data=data, metrics=metrics, backend=trainer.backend.name
        )
        write_run_file(folder / CONFIG_FILE, run, provenance=source)
        recorder.attach(planned.name, folder / CONFIG_FILE)
        chosen = _best_replica(trained, run.task)
        write_model(
            folder / MODEL_FOLDER,
            describe(trainer.network, run.network),
            weights={name: each[chosen] for name, each in trainer.best_state.items()},
        )

    return carry_out(
        planned,
        task,
        folder=folder,
        recorder=recorder,
        on_epoch=on_epoch,
        on_problem=on_problem,
        evaluate=lambda trainer: final_metrics(trainer, data),
        finish=keep_config,
    )


def _best_replica(trained: Trained, task: str) -> int:
    """The replica with the best validation result; the first where there is none."""
    values = trained.metrics[f"val_{task_class(task).objective}"]
    losses = {i: signed_loss(each, TASKS[task].direction) for i, each in enumerate(values)}
    finite = {replica: loss for replica, loss in losses.items() if math.isfinite(loss)}
    return min(finite, key=lambda replica: finite[replica], default=0)
