"""What commands ask of a task's data, once it is loaded."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    # A command line is read and judged before torch is imported, which takes seconds.
    from dmu_search.engine.tasks.base import TaskData
    from dmu_search.engine.training.trainer import Trainer


class Data(Protocol):
    """Loaded data: what a task is made over, and what there is to say of it."""

    @property
    def name(self) -> str:
        """Of the data set, as records and pages show it."""

    @property
    def sha256(self) -> str:
        """Of all that a model is trained on; equal digests mean equal data."""

    @property
    def warning(self) -> str | None:
        """One sentence that the user must see, or None."""

    @property
    def task_data(self) -> "TaskData":
        """What the task is made over."""

    @property
    def sequences(self) -> Mapping[str, int]:
        """Number of sequences in each split: ``train``, ``valid`` and ``test``."""

    def steps_per_epoch(self, batch_size: int) -> int:
        """Time steps that an epoch trains on, at most."""

    def describe(self) -> str:
        """One line for the screen: name and sizes."""


@runtime_checkable
class Judging(Protocol):
    """Data that can judge a trained network by more than its task does, as by the words of a text.

    The screen and the tables show what they know by name; records and MLflow show everything.
    """

    def further_metrics(
        self, trainer: "Trainer", metrics: Mapping[str, tuple[float, ...]]
    ) -> dict[str, tuple[float, ...]]:
        """Metrics beside those of the task.

        Args:
            trainer: over the data, its training ended.
            metrics: those of its task, one entry per replica.
        """
