"""A user's own task and cell as rows of the tables, in this process and, by value, in Ray's."""

from dataclasses import replace
from functools import partial
from typing import Any, cast

from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.grammar import Setting
from dmu_search.config.keys import KEYS
from dmu_search.data.own import OwnData
from dmu_search.engine.networks.cells import Cell
from dmu_search.engine.networks.cells.gated import stack
from dmu_search.engine.tasks.base import TaskData
from dmu_search.errors import ConfigError
from dmu_search.names import MODELS, TASKS, TaskEntry, install, is_own

# What a task of one's own searches unless it or the caller says otherwise.
SPACE: dict[str, Setting] = {
    "training.learning_rate": Interval(1e-4, 1e-1, log=True),
    "training.batch_size": Choice((16, 32, 64)),
    "training.max_epochs": 20,
}


def task_name(task: object) -> str:
    """The name of a task: itself, or that of an object's class, which becomes a row.

    Raises:
        ConfigError: the object is no task, or a shipped one has its name.
    """
    if isinstance(task, str):
        return task
    kind, data = type(task), getattr(task, "data", None)
    asked = ("objective", "direction", "loss", "evaluate", "network")
    lacking = [attribute for attribute in asked if not hasattr(task, attribute)]
    if lacking or not hasattr(data, "to_arrays"):
        raise ConfigError(
            f"task: must be a name or a task such as a ds.SequenceTask, got {kind.__name__} "
            f"without {', '.join(lacking) or 'its attribute data'}"
        )
    name = kind.__name__.lower()
    _check_free("task", name, table=TASKS)
    # What a file's module would define: the task's class, and what loads its data.
    load = partial(_data, OwnData(name, cast(TaskData, data)))
    _add(tasks={name: TaskEntry(kind, data=load, direction=cast(Any, kind).direction)})
    return name


def model_name(model: object) -> str:
    """The name of a model: itself, or that of a subclass of ``Cell``, which becomes a row.

    Raises:
        ConfigError: it is neither, or a shipped model has its name.
    """
    if isinstance(model, str):
        return model
    if not (isinstance(model, type) and issubclass(model, Cell)):
        raise ConfigError(f"model: must be a name or a subclass of ds.cells.Cell, got {model!r}")
    name = model.__name__.lower()
    _check_free("model", name, table=MODELS)
    _add(models={name: partial(_build, model)})
    return name


def _data(own: OwnData, *_: object) -> OwnData:
    return own


def _build(kind: Any, *called_with: Any) -> Any:
    input_size, settings = called_with
    return stack(kind, input_size, settings=settings)


def _check_free(what: str, name: str, *, table: dict[str, Any]) -> None:
    if name in table and not is_own(name):
        raise ConfigError(f"{what}: {name} is the name of a shipped one; rename your class")


def _add(**rows: Any) -> None:
    install(**rows)
    for key, table in (("task", TASKS), ("model", MODELS)):
        KEYS[key] = replace(KEYS[key], choices=tuple(table))
