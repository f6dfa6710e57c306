"""A task over arrays in memory, to be subclassed: ``dmu_search.SequenceTask``."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from dmu_search.engine.kernels.rows import PackedRows, length_sorted_batches
from dmu_search.engine.networks.cells import State
from dmu_search.engine.networks.network import Network, build_network
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.base import BatchLoss, TaskData
from dmu_search.errors import ConfigError
from dmu_search.names import Direction

SPLITS = ("train", "valid", "test")
# Steps that are evaluated at a time.
_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class SequenceData:
    """Sequences and their targets, of three splits.

    Attributes:
        arrays: of each split ``x``, ``(row, feature)``, all sequences one after the other;
            ``lengths``, ``(sequence,)``; and ``y``, ``(sequence, ..)`` or ``(row, ..)``; named
            ``train_x`` and so on.
    """

    arrays: Mapping[str, NDArray[Any]]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All of them."""
        return dict(self.arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "SequenceData":
        """The inverse of ``to_arrays``."""
        return cls(arrays)


Split = tuple[Sequence[ArrayLike] | NDArray[Any], Sequence[ArrayLike] | NDArray[Any]]


def sequences(*, train: Split, valid: Split, test: Split) -> SequenceData:
    """Data for a ``SequenceTask`` from pairs of inputs and targets.

    Args:
        train: inputs, ``(sequence, time, feature)``, or a list of ``(time, feature)`` of different
            lengths; and their targets: whole numbers for classes, others as they are. One for each
            sequence, ``(sequence, ..)``, or for each step, a list of ``(time, ..)``.
        valid: the same, for validation.
        test: the same, evaluated once at the end of a trial.

    Raises:
        ConfigError: shapes that do not fit each other.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, (inputs, targets) in zip(SPLITS, (train, valid, test), strict=True):
        x = [np.asarray(each, dtype=np.float32) for each in inputs]
        if not x or any(each.ndim != 2 or not len(each) for each in x) or len(targets) != len(x):
            raise ConfigError(
                f"{name}: must be inputs, one (time, feature) for each sequence, and as many "
                f"targets, got {len(x)} and {len(targets)}"
            )
        if len({each.shape[1] for each in x}) != 1:
            raise ConfigError(f"{name}: the inputs differ in their number of features")
        y = _targets(targets)
        arrays[f"{name}_x"] = np.concatenate(x)
        arrays[f"{name}_lengths"] = np.array([len(each) for each in x], dtype=np.int64)
        arrays[f"{name}_y"] = y.astype(np.int64 if y.dtype.kind in "iub" else np.float32)
        if len(y) not in (len(x), len(arrays[f"{name}_x"])):
            raise ConfigError(
                f"{name}: must have a target for each of {len(x)} sequences or "
                f"{len(arrays[f'{name}_x'])} steps, got {len(y)}"
            )
    return SequenceData(arrays)


def _targets(targets: Sequence[ArrayLike] | NDArray[Any]) -> NDArray[Any]:
    """One array; a list of arrays holds the targets of steps."""
    if isinstance(targets, list) and np.ndim(targets[0]) > 0:
        return np.concatenate([np.asarray(each) for each in targets])
    return np.asarray(targets)


@dataclass(frozen=True, eq=False)
class SequenceBatch:
    """Some sequences of each replica: packed inputs, ``(replica, row, feature)``, and targets."""

    rows: PackedRows
    x: Tensor
    y: Tensor


class SequenceTask(ABC):
    """Learns targets of sequences, or of each step; a subclass says what is a good output.

    Args:
        data: of ``sequences``.
        device: where batches live.
        dtype: of inputs, and so of weights.

    Attributes:
        objective: name of the score that decides; one of those that ``scores`` gives.
        direction: ``minimize`` or ``maximize``.
        loss_name: name of the score that is trained on; always made small.
    """

    objective: ClassVar[str]
    direction: ClassVar[Direction] = "minimize"
    loss_name: ClassVar[str]
    data_type: ClassVar[type[TaskData]] = SequenceData

    def __init__(
        self,
        data: SequenceData,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.data = data
        self.device, self.dtype = torch.device(device), dtype
        self._lengths = {split: data.arrays[f"{split}_lengths"] for split in SPLITS}
        self._starts = {split: own.cumsum() - own for split, own in self._lengths.items()}
        self._x = {
            split: torch.from_numpy(data.arrays[f"{split}_x"]).to(self.device, dtype)
            for split in SPLITS
        }
        self._y = {split: self._placed(data.arrays[f"{split}_y"]) for split in SPLITS}
        every = data.arrays["train_y"]
        self.every_step = len(every) != len(self._lengths["train"])

    def _placed(self, y: NDArray[Any]) -> Tensor:
        own = torch.from_numpy(y).to(self.device)
        return own.to(self.dtype) if own.is_floating_point() else own

    @property
    def outputs(self) -> int:
        """Linear outputs of the network: as many as there are classes, or numbers in a target."""
        y = self._y["train"]
        if not y.is_floating_point():
            return int(max(int(own.max()) for own in self._y.values())) + 1
        return 1 if y.dim() == 1 else y.shape[1]

    @abstractmethod
    def scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Judge linear outputs.

        Args:
            outputs: ``(replica, item, output)``; items are sequences or steps.
            targets: ``(replica, item, ..)``.

        Returns:
            Each score by its name, ``loss_name`` and ``objective`` among them, ``(replica, item)``.
        """

    def network(self, settings: NetworkSettings) -> Network:
        """The features in, ``outputs`` out."""
        features = self._x["train"].shape[1]
        return build_network(settings, input_size=features, readout=(self.outputs,))

    def train_batches(
        self, generators: Sequence[torch.Generator], training: TrainingSettings
    ) -> Iterator[SequenceBatch]:
        """All sequences once, each replica in its own order; the last batch may be smaller."""
        count = len(self._lengths["train"])
        orders = torch.stack([torch.randperm(count, generator=each) for each in generators])
        for index in torch.split(orders, training.batch_size, dim=1):
            yield self._batch("train", index.numpy())

    def batches_per_epoch(self, batch_size: int) -> int:
        """Those of all training sequences."""
        return -(-len(self._lengths["train"]) // batch_size)

    def loss(
        self,
        network: Network,
        weights: Mapping[str, Tensor],
        *,
        batch: SequenceBatch,
        carry: tuple[State, ...] | None,
    ) -> BatchLoss:
        """Mean of the score ``loss_name``; nothing is carried from batch to batch."""
        sums, terms = self._sums(network, weights, batch=batch)
        return BatchLoss(mean=sums[self.loss_name] / terms, terms=terms)

    def evaluate(
        self, network: Network, weights: Mapping[str, Tensor], *, split: str
    ) -> dict[str, Tensor]:
        """Mean of every score over a split, ``(replica,)`` each."""
        replicas = next(iter(weights.values())).shape[0]
        totals: dict[str, Tensor] = {}
        count = torch.zeros(replicas, dtype=torch.float64, device=self.device)
        for index in length_sorted_batches(self._lengths[split], _ROWS):
            batch = self._batch(split, np.broadcast_to(index, (replicas, len(index))))
            sums, terms = self._sums(network, weights, batch=batch)
            count += terms
            for name, value in sums.items():
                totals[name] = totals.get(name, 0.0) + value.double()
        return {name: total / count for name, total in totals.items()}

    def _batch(self, split: str, index: NDArray[np.int64]) -> SequenceBatch:
        """Sequences by their numbers, ``(replica, batch)``."""
        rows = PackedRows(self._lengths[split][index], self.device)
        steps = rows.gather_index(self._starts[split][index])
        of = steps if self.every_step else torch.from_numpy(index.copy()).to(self.device)
        return SequenceBatch(rows, self._x[split][steps], self._y[split][of])

    def _sums(
        self, network: Network, weights: Mapping[str, Tensor], *, batch: SequenceBatch
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Sum of each score, and the number of items, ``(replica,)`` each."""
        states, _ = network.recur(weights, batch.x, rows=batch.rows)
        kept = states if self.every_step else batch.rows.last(states)
        scores = self.scores(network.read(weights, kept), batch.y)
        if self.every_step:
            valid = batch.rows.valid
            sums = {name: own.where(valid, 0.0).sum(dim=1) for name, own in scores.items()}
            return sums, batch.rows.counts.to(states.dtype)
        terms = states.new_full((states.shape[0],), batch.rows.batch)
        return {name: own.sum(dim=1) for name, own in scores.items()}, terms


class Classification(SequenceTask):
    """Names the class of each sequence or step; judged by the cross-entropy."""

    objective = "nll_nats"
    loss_name = "nll_nats"

    def scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats, and whether the likeliest class is right."""
        nll = functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none")
        hits = outputs.detach().argmax(dim=2) == targets
        return {"nll_nats": nll, "accuracy": hits.to(nll.dtype)}


class Regression(SequenceTask):
    """Puts out the numbers of each target; judged by the squared error."""

    objective = "mse"
    loss_name = "mse"

    def scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Squared error, the mean over the numbers of a target."""
        return {"mse": (outputs - targets.reshape(outputs.shape)).square().mean(dim=2)}
