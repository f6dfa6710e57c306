"""The tasks, one file each."""

from collections.abc import Callable
from functools import partial
from typing import Any

from dmu_search.engine.networks.network import Architecture
from dmu_search.engine.networks.translator import build_translator
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks.adding import Adding
from dmu_search.engine.tasks.base import BatchLoss, Task, TaskData
from dmu_search.engine.tasks.generated import GeneratedTask, Rules
from dmu_search.engine.tasks.natlang import NatLang, Text
from dmu_search.engine.tasks.noiseseq import NoiseSeq
from dmu_search.engine.tasks.polymusic import PianoRolls, PolyMusic
from dmu_search.engine.tasks.tempord import TempOrd
from dmu_search.engine.tasks.translation import RELEASED_VOCABULARIES, Translation

__all__ = [
    "GENERATED",
    "NETWORKS",
    "TASKS",
    "Adding",
    "BatchLoss",
    "GeneratedTask",
    "NatLang",
    "NoiseSeq",
    "PianoRolls",
    "PolyMusic",
    "Rules",
    "Task",
    "TaskData",
    "TempOrd",
    "Text",
    "Translation",
]

# The synthetic tasks: made from rules, without a data set.
GENERATED: dict[str, type[GeneratedTask]] = {
    "adding": Adding,
    "tempord": TempOrd,
    "noiseseq": NoiseSeq,
}

TASKS: dict[str, type[Task[Any, Any]]] = {
    **GENERATED,
    "polymusic": PolyMusic,
    "natlang": NatLang,
    **dict.fromkeys(RELEASED_VOCABULARIES, Translation),
}

# The networks of the paper's tables. Those of a task at work may differ: they fit its own data.
NETWORKS: dict[str, Callable[[NetworkSettings], Architecture]] = {
    **{name: task.network for name, task in GENERATED.items()},
    "polymusic": PolyMusic.network,
    "natlang": NatLang.network,
    **{
        name: partial(build_translator, vocabulary=vocabulary)
        for name, vocabulary in RELEASED_VOCABULARIES.items()
    },
}
