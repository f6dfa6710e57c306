"""Tasks by name, with the data that each needs: where the data layer meets the engine."""

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import torch

from dmu_search.data import Data, GeneratedData, PairCorpus
from dmu_search.data.bleu import corpus_bleu
from dmu_search.data.corpus import load_piano_rolls
from dmu_search.data.files import DataStore
from dmu_search.data.midi import Reading
from dmu_search.data.pairs import PAIR_FILES, load_pairs
from dmu_search.data.settings import DataSettings
from dmu_search.data.treebank import load_treebank
from dmu_search.engine.networks.network import Architecture
from dmu_search.engine.networks.translator import build_translator
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks import GENERATED, NETWORKS, TASKS, Rules, Task, Translation
from dmu_search.engine.training.trainer import Trainer

LoadedData = Mapping[tuple[str, DataSettings], Data]


def load_data(task: str, settings: DataSettings) -> Data:
    """The data of ``task``.

    Raises:
        ConfigError: rules that no sequence fits, or no such corpus.
        DataError: data is missing, altered or unreadable.
    """
    if task in GENERATED:
        rules = Rules(
            length=settings.length,
            batches_per_epoch=settings.batches_per_epoch,
            noise=settings.noise,
        )
        return GeneratedData(task, rules)
    store = DataStore.from_settings(root=settings.root, mirror=settings.mirror)
    if task == "natlang":
        return load_treebank(store, settings.limit)
    if task in PAIR_FILES:
        return load_pairs(
            task,
            store,
            file=settings.pairs_file,
            pairs=settings.pairs,
            limit=settings.limit,
        )
    reading = Reading(Fraction(settings.step), settings.transpose)
    return load_piano_rolls(settings.corpus, store, settings.limit, reading)


def load_all(wanted: Iterable[tuple[str, DataSettings]]) -> LoadedData:
    """The data of each task and its settings; equal data is loaded once.

    Raises:
        ConfigError: as ``load_data``.
        DataError: as ``load_data``.
    """
    return {(task, settings): load_data(task, settings) for task, settings in dict.fromkeys(wanted)}


def make_task(task: str, data: Data, *, device: torch.device | str = "cpu") -> Task[Any, Any]:
    """The task over loaded data, on a device."""
    return TASKS[task](data.task_data, device=device)


def network_of(task: str, data: Data, settings: NetworkSettings) -> Architecture:
    """The network that ``make_task`` would train; without what that costs."""
    if isinstance(data, PairCorpus):
        return build_translator(settings, data.pairs.vocabulary)
    return NETWORKS[task](settings)


def final_metrics(trainer: Trainer, data: Data) -> dict[str, tuple[float, ...]]:
    """Results of a training: those of its task, and what it takes the text to tell.

    Args:
        trainer: of ``make_task`` over ``data``.
        data: what it was trained on.

    Returns:
        ``Trainer.evaluate_best``, and for translations ``test_bleu``, one entry per replica.
    """
    metrics = trainer.evaluate_best()
    if isinstance(data, PairCorpus) and isinstance(trainer.task, Translation):
        said = trainer.task.translate(trainer.network, trainer.best_weights, split="test")
        references = data.texts(data.pairs.test.target)
        metrics["test_bleu"] = tuple(
            math.nan if math.isnan(accuracy) else corpus_bleu(map(data.text, own), references)
            for own, accuracy in zip(said, metrics["test_accuracy"], strict=True)
        )
    return metrics
