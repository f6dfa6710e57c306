"""Tasks by name, with the data that each needs: where the data layer meets the engine."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from dmu_search.data.base import Data, Judging
from dmu_search.data.files import DataFile
from dmu_search.data.settings import DataSettings
from dmu_search.engine.networks.network import Architecture
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks import Task, task_class
from dmu_search.engine.training.trainer import Trainer
from dmu_search.names import TASKS, in_row

LoadedData = Mapping[tuple[str, DataSettings], Data]


def load_data(task: str, settings: DataSettings) -> Data:
    """The data of ``task``.

    Raises:
        ConfigError: rules that no sequence fits, or no such corpus.
        DataError: data is missing, altered or unreadable.
    """
    data: Data = _in_module_of(task, "load")(task, settings)
    return data


def files_of(task: str) -> tuple[DataFile, ...]:
    """The files that the data of ``task`` is read from; none where it is made or comes along."""
    names = TASKS[task].files
    return tuple(_in_module_of(task, "FILES")[name] for name in names) if names else ()


def _in_module_of(task: str, attribute: str) -> Any:
    return in_row(TASKS[task].data, __package__, attribute=attribute)


def load_all(wanted: Iterable[tuple[str, DataSettings]]) -> LoadedData:
    """The data of each task and its settings; equal data is loaded once.

    Raises:
        ConfigError: as ``load_data``.
        DataError: as ``load_data``.
    """
    return {(task, settings): load_data(task, settings) for task, settings in dict.fromkeys(wanted)}


def make_task(task: str, data: Data, *, device: torch.device | str = "cpu") -> Task[Any, Any]:
    """The task over loaded data, on a device."""
    return task_class(task)(data.task_data, device=device)


def network_of(task: str, data: Data, *, settings: NetworkSettings) -> Architecture:
    """The network that is trained on the data."""
    network: Architecture = make_task(task, data).network(settings)
    return network


def final_metrics(trainer: Trainer, data: Data) -> dict[str, tuple[float, ...]]:
    """Results of a training: those of its task, and those that only its data can tell.

    Args:
        trainer: of ``make_task`` over ``data``.
        data: what it was trained on.

    Returns:
        ``Trainer.evaluate_best`` and, of data that is ``Judging``, its further metrics, one entry
        per replica.
    """
    metrics = trainer.evaluate_best()
    return metrics | (data.further_metrics(trainer, metrics) if isinstance(data, Judging) else {})


# Our names of splits -> those of MLflow's pages.
_CONTEXTS = {"train": "train", "valid": "validation", "test": "test"}


def described_splits(task: str, settings: DataSettings, *, data: Data) -> list[dict[str, str]]:
    """The splits of loaded data as recorded runs name them: with digest, size and source."""
    files = files_of(task)
    source: dict[str, object]
    if settings.root is not None:
        kind, source = "local", {"uri": str(settings.root)}
    elif files and files[0].served:
        kind, source = "http", {"url": files[0].url}
    else:
        kind, source = "code", {"tags": {"mlflow.source.name": f"data of {task}"}}
    return [
        {
            "name": f"{data.name} {context}",
            "digest": data.sha256[:16],
            "split": context,
            "source_type": kind,
            "source": json.dumps(source),
            "profile": json.dumps({"sequences": data.sequences[split]}),
        }
        for split, context in _CONTEXTS.items()
        if split in data.sequences
    ]
