"""Every task keeps its contract, and trains every model as replicas that keep apart."""

import itertools

import torch

from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks import Task, TaskData, task_class
from dmu_search.engine.tasks.adding import Adding
from dmu_search.engine.tasks.polymusic import PolyMusic
from dmu_search.names import MODELS, TASKS
from dmu_search.testing import TaskContract, TrainingContract
from dmu_search.testing.cells import OVERFLOW
from tests.engine.conftest import KINDS_OF_TASK, SMALL_DATA, marks, small_task


class Small:
    """Makes the task over data of a few sequences."""

    task: str

    def small_data(self) -> TaskData:
        return SMALL_DATA[TASKS[self.task].data]()

    def make_task(self, dtype: torch.dtype = torch.float32) -> Task:
        return small_task(self.task, dtype)


def contract(task: str, model: str) -> type:
    """All of it with one model, the trainings alone with the others."""
    kind = TaskContract if model == next(iter(MODELS)) else TrainingContract
    own = {
        "task": task,
        "networks": tuple(NetworkSettings(model, (5,) * depth) for depth in (1, 2)),
    }
    if task_class(task) is PolyMusic:
        own["faults"] = (*TrainingContract.faults, OVERFLOW)
    made = type(f"Test_{task}_{model}", (Small, kind), own)
    for mark in marks(model, task):
        made = mark(made)
    return made


for _task, _model in itertools.product(KINDS_OF_TASK, MODELS):
    # The contract of a cell trains it on Adding.
    if task_class(_task) is not Adding or _model == next(iter(MODELS)):
        globals()[f"Test_{_task}_{_model}"] = contract(_task, _model)
