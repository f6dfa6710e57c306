"""The tasks, one file each."""

from typing import Any

from dmu_search.engine.tasks.adding import Adding
from dmu_search.engine.tasks.base import BatchLoss, Task, TaskData
from dmu_search.engine.tasks.generated import GeneratedTask, Rules
from dmu_search.engine.tasks.noiseseq import NoiseSeq
from dmu_search.engine.tasks.polymusic import PianoRolls, PolyMusic
from dmu_search.engine.tasks.tempord import TempOrd

__all__ = [
    "GENERATED",
    "TASKS",
    "Adding",
    "BatchLoss",
    "GeneratedTask",
    "NoiseSeq",
    "PianoRolls",
    "PolyMusic",
    "Rules",
    "Task",
    "TaskData",
    "TempOrd",
]

# The synthetic tasks: made from rules, without a data set.
GENERATED: dict[str, type[GeneratedTask]] = {
    "adding": Adding,
    "tempord": TempOrd,
    "noiseseq": NoiseSeq,
}

TASKS: dict[str, type[Task[Any]]] = {**GENERATED, "polymusic": PolyMusic}
