"""The tasks, one file each; ``dmu_search.names.TASKS`` has a row for each."""

from typing import Any

from dmu_search.engine.tasks.base import BatchLoss, Task, TaskData
from dmu_search.errors import ConfigError
from dmu_search.names import TASKS, in_row

__all__ = ["BatchLoss", "Task", "TaskData", "task_class"]


def task_class(name: str) -> type[Task[Any, Any]]:
    """The class of a task.

    Args:
        name: a key of ``dmu_search.names.TASKS``.

    Raises:
        ConfigError: there is no such task.
    """
    if name not in TASKS:
        raise ConfigError(f"task: must be one of {', '.join(TASKS)}, got {name!r}")
    own: type[Task[Any, Any]] = in_row(TASKS[name].engine, __name__, attribute="TASK")
    return own
