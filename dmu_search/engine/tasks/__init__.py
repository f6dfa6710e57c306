"""The tasks, one file each."""

from dmu_search.engine.tasks.base import BatchLoss, Task
from dmu_search.engine.tasks.polymusic import PianoRolls, PolyMusic

__all__ = ["TASKS", "BatchLoss", "PianoRolls", "PolyMusic", "Task"]

TASKS: dict[str, type[PolyMusic]] = {"polymusic": PolyMusic}
