"""Tasks by name, with the data that each needs: where the data layer meets the engine."""

from typing import Any

import torch

from dmu_search.config.settings import DataSettings
from dmu_search.data import Data, GeneratedData
from dmu_search.data.corpus import load_piano_rolls
from dmu_search.data.files import DataStore
from dmu_search.engine.tasks import GENERATED, PolyMusic, Rules, Task


def load_data(task: str, settings: DataSettings) -> Data:
    """The data of ``task``.

    Raises:
        ConfigError: rules that no sequence fits.
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
    return load_piano_rolls(settings.corpus, store, settings.limit)


def make_task(task: str, data: Data, *, device: torch.device | str = "cpu") -> Task[Any, Any]:
    """The task over loaded data, on a device."""
    if isinstance(data, GeneratedData):
        return GENERATED[task](data.rules, device=device)
    return PolyMusic(data.rolls, device=device)
