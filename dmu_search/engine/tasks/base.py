"""What the trainer asks of a task; it knows of no notes, words or sequences itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import torch
from numpy.typing import NDArray
from torch import Tensor

from dmu_search.engine.kernels.buckets import FixedBatch
from dmu_search.engine.networks.cells import State
from dmu_search.engine.networks.network import Architecture
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.names import Direction

Net = TypeVar("Net", bound=Architecture)
Batch = TypeVar("Batch")


@dataclass(frozen=True, eq=False)
class BatchLoss:
    """Training loss of one batch.

    Attributes:
        mean: what each replica minimises, ``(replica,)``.
        terms: how many terms (steps, sequences) that is the mean of, ``(replica,)``; batches weigh
            so much in the mean over an epoch.
        carry: what the next batch of the epoch goes on from, detached; None if nothing.
    """

    mean: Tensor
    terms: Tensor
    carry: tuple[State, ...] | None = None


class TaskData(Protocol):
    """What a task is made over, as arrays that a file can hold."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, by name; no pickled objects."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of ``to_arrays``."""


class Task(Protocol[Net, Batch]):
    """A data set (or a generator of one) together with its loss, readout and metrics.

    Splits are ``train``, ``valid`` and ``test``. All batches hold all replicas, and what a replica
    gets may depend on its own generator only.

    Attributes:
        objective: name of the metric that decides which epoch is the best.
        direction: whether a small or a large objective is good.
        loss_name: name, with unit, of the training loss.
        data_type: what the task is made over.
    """

    objective: ClassVar[str]
    direction: ClassVar[Direction]
    loss_name: ClassVar[str]
    data_type: ClassVar[type[TaskData]]

    def __init__(
        self,
        data: Any,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """A task over its data."""

    @property
    def device(self) -> torch.device:
        """Where batches, and so weights, live."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of inputs, and so of weights."""

    def network(self, settings: NetworkSettings) -> Net:
        """The network for the inputs and targets of this task and its data."""

    def train_batches(
        self, generators: Sequence[torch.Generator], training: TrainingSettings
    ) -> Iterator[Batch]:
        """The batches of one epoch; generators, one per replica, advance."""

    def batches_per_epoch(self, batch_size: int) -> int:
        """How many batches ``train_batches`` gives."""

    def loss(
        self,
        network: Net,
        weights: Mapping[str, Tensor],
        *,
        batch: Batch,
        carry: tuple[State, ...] | None,
    ) -> BatchLoss:
        """Differentiable loss; ``carry`` is that of the batch before, None at an epoch's start."""

    def evaluate(
        self, network: Net, weights: Mapping[str, Tensor], *, split: str
    ) -> dict[str, Tensor]:
        """Metrics of a whole split, the objective among them, ``(replica,)`` each."""


@runtime_checkable
class Bucketed(Protocol):
    """A task whose training steps can be recorded once and replayed: batches come in few shapes.

    Its ``loss`` takes such batches too. All that it computes on the GPU from a batch and the
    weights it must compute by the same operations for every batch of a bucket, without a look at
    their values and without a copy from or to the CPU; it carries nothing from batch to batch.
    """

    def bucketed_batches(
        self, generators: Sequence[torch.Generator], batch_size: int
    ) -> Iterator[FixedBatch]:
        """As ``train_batches``, with the same draws from the generators."""

    def bucket_examples(self, replicas: int, batch_size: int) -> Iterator[FixedBatch]:
        """Some batch of each bucket that such training has, the largest bucket first.

        Memory that the first recording has needed is there for the smaller ones.
        """
