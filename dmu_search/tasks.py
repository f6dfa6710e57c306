"""Tasks by name, with the data that each needs: where the data layer meets the engine."""

from typing import Any

import torch

from dmu_search.config.settings import DataSettings
from dmu_search.data.corpus import Corpus, load_piano_rolls
from dmu_search.data.files import DataStore
from dmu_search.engine.tasks import TASKS, Task


def load_data(task: str, settings: DataSettings) -> Corpus:
    """The data of ``task``.

    Raises:
        DataError: it is missing, altered or unreadable.
    """
    store = DataStore.from_settings(root=settings.root, mirror=settings.mirror)
    return load_piano_rolls(settings.corpus, store, settings.limit)


def make_task(task: str, data: Corpus, *, device: torch.device | str = "cpu") -> Task[Any]:
    """The task over loaded data, on a device."""
    return TASKS[task](data.rolls, device=device)
