"""Data of a user's own task object, which is in memory already."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from dmu_search.engine.tasks.base import TaskData


@dataclass(frozen=True, eq=False)
class OwnData:
    """Arrays of a task, and what there is to say of them.

    Attributes:
        name: of the task.
        task_data: what the task is made over.
        warning: nothing.
    """

    name: str
    task_data: TaskData
    warning: None = None

    @property
    def sequences(self) -> dict[str, int]:
        """Of each split, where the data has lengths as ``sequences`` gives them."""
        arrays = self.task_data.to_arrays()
        lengths = {split: arrays.get(f"{split}_lengths") for split in ("train", "valid", "test")}
        return {split: len(own) for split, own in lengths.items() if own is not None}

    @cached_property
    def sha256(self) -> str:
        """Of every array."""
        digest = hashlib.sha256()
        for name, values in sorted(self.task_data.to_arrays().items()):
            digest.update(f"{name} {values.shape} {values.dtype}\n".encode() + values.tobytes())
        return digest.hexdigest()

    def steps_per_epoch(self, batch_size: int) -> int:
        """Of all training sequences; 0 where the data has no lengths."""
        lengths = self.task_data.to_arrays().get("train_lengths")
        return 0 if lengths is None else int(lengths.sum())

    def describe(self) -> str:
        """One line: name and sizes of train / valid / test."""
        sizes = " / ".join(map(str, self.sequences.values()))
        return f"{self.name}: {sizes} sequences of your own" if sizes else f"{self.name}: your own"
