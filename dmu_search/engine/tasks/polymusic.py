"""PolyMusic: predict the notes of the next step of a piano roll."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmu_search.engine.kernels.buckets import Bucket, BucketRows, find_buckets, smallest_fit
from dmu_search.engine.kernels.notes import note_nll
from dmu_search.engine.kernels.rows import PackedRows, Rows, length_sorted_batches, placed
from dmu_search.engine.networks.cells import State
from dmu_search.engine.networks.network import Network, build_network
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.base import BatchLoss, TaskData
from dmu_search.errors import DataError
from dmu_search.names import TASKS, Direction

NOTES = 88
SPLITS = ("train", "valid", "test")
# The released code averages evaluation losses over batches of this size, whatever the training's.
RELEASED_BATCH = 32
# Rows, of all replicas together, that an evaluation holds in memory at a time: a few 100 bytes per
# row and unit of width, and wide enough for the products to run at full speed.
EVALUATION_ROWS = 2**15

Roll = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PianoRolls:
    """Tunes as piano rolls, 1 where a note sounds: ``(time, 88)`` each.

    Attributes:
        train: tunes to train on.
        valid: tunes that choose the epoch.
        test: tunes that nothing is chosen by.
    """

    train: tuple[Roll, ...]
    valid: tuple[Roll, ...]
    test: tuple[Roll, ...]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Per split all tunes, one after the other, and the steps of each."""
        arrays = {}
        for split in SPLITS:
            rolls = getattr(self, split)
            arrays[f"{split}_notes"] = np.concatenate(rolls)
            arrays[f"{split}_steps"] = np.array([len(roll) for roll in rolls])
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "PianoRolls":
        """The inverse of ``to_arrays``."""
        return cls(
            **{
                split: tuple(
                    np.split(arrays[f"{split}_notes"], arrays[f"{split}_steps"].cumsum()[:-1])
                )
                for split in SPLITS
            }
        )


@dataclass(frozen=True, eq=False)
class FlatRolls:
    """One split as a single tensor, for batches to be gathered from by index.

    Attributes:
        notes: all tunes, one after the other, ``(step, 88)``.
        starts: first step of each tune, ``(sequence,)``.
        lengths: predicted steps of each tune, one less than it has, ``(sequence,)``.
    """

    notes: Tensor
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def from_rolls(cls, rolls: Sequence[Roll], device: torch.device) -> "FlatRolls":
        """Concatenate checked tunes."""
        steps = np.array([len(roll) for roll in rolls], dtype=np.int64)
        return cls(
            notes=torch.from_numpy(np.concatenate(rolls)).to(device),
            starts=steps.cumsum() - steps,
            lengths=steps - 1,
        )


@dataclass(frozen=True, eq=False)
class NoteBatch:
    """Notes to predict from those of the step before, 1 where one sounds, as bytes.

    Attributes:
        rows: the packing.
        inputs: packed notes of steps 1 .. T-1, ``(replica, row, 88)``.
        targets: packed notes of steps 2 .. T, shaped alike.
    """

    rows: Rows
    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True, eq=False)
class PackedNoteBatch(NoteBatch):
    """The same, without rows for steps that do not exist."""

    rows: PackedRows


@dataclass(frozen=True, eq=False)
class BucketNoteBatch(NoteBatch):
    """The same, in the rows of a bucket."""

    rows: BucketRows

    @property
    def bucket(self) -> Bucket:
        """The shape."""
        return self.rows.bucket

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that tells batches of a bucket apart."""
        return self.inputs, self.targets, *self.rows.tensors


class PolyMusic:
    """Next-step prediction of piano rolls, all 88 notes being independent yes-or-no questions.

    Args:
        rolls: the tunes.
        device: where to train.
        dtype: precision to train in.

    Raises:
        DataError: if a split is empty or a tune is no ``(time, 88)`` array of at least 2 steps, all
            zeros and ones.
    """

    objective: ClassVar[str] = "nll_nats"
    direction: ClassVar[Direction] = TASKS["polymusic"].direction
    loss_name: ClassVar[str] = "nll_nats"
    data_type: ClassVar[type[TaskData]] = PianoRolls

    def __init__(
        self,
        rolls: PianoRolls,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        check_rolls(rolls)
        self._splits = {
            split: FlatRolls.from_rolls(getattr(rolls, split), self.device) for split in SPLITS
        }
        self._found_buckets: dict[tuple[int, int], tuple[Bucket, ...]] = {}

    @staticmethod
    def network(settings: NetworkSettings) -> Network:
        """Notes in, one logit per note out; needs no data."""
        return build_network(settings, input_size=NOTES, readout=(NOTES,))

    def train_batches(
        self, generators: Sequence[torch.Generator], training: TrainingSettings
    ) -> Iterator[PackedNoteBatch]:
        """All training tunes once, each replica in its own order; the last batch may be smaller."""
        for sequences in self._draw(generators, training.batch_size):
            yield self._batch("train", sequences)

    def bucketed_batches(
        self, generators: Sequence[torch.Generator], batch_size: int
    ) -> Iterator[BucketNoteBatch]:
        """The same batches, each in one of a few fixed shapes."""
        lengths = self._splits["train"].lengths
        buckets = self._buckets(len(generators), batch_size)
        for sequences in self._draw(generators, batch_size):
            yield self._in_bucket(smallest_fit(buckets, lengths[sequences]), sequences)

    def bucket_examples(self, replicas: int, batch_size: int) -> Iterator[BucketNoteBatch]:
        """The shortest tune alone in each shape."""
        shortest = int(self._splits["train"].lengths.argmin())
        for bucket in sorted(self._buckets(replicas, batch_size), key=lambda b: -b.rows):
            yield self._in_bucket(bucket, np.full((replicas, 1), shortest))

    def _buckets(self, replicas: int, batch_size: int) -> tuple[Bucket, ...]:
        key = (replicas, batch_size)
        if key not in self._found_buckets:
            lengths = self._splits["train"].lengths
            self._found_buckets[key] = find_buckets(lengths, batch_size, replicas=replicas)
        return self._found_buckets[key]

    def _in_bucket(self, bucket: Bucket, sequences: NDArray[np.int64]) -> BucketNoteBatch:
        """Gather training tunes, ``(replica, batch)``, by index."""
        flat = self._splits["train"]
        lengths, starts = flat.lengths[sequences], flat.starts[sequences]
        rows = BucketRows.place(bucket, lengths, starts=starts, device=self.device)
        return BucketNoteBatch(rows, *self._notes(flat, rows.source))

    def _draw(
        self, generators: Sequence[torch.Generator], batch_size: int
    ) -> Iterator[NDArray[np.int64]]:
        """Tunes of each batch of an epoch, ``(replica, batch)``."""
        count = len(self._splits["train"].lengths)
        orders = torch.stack([torch.randperm(count, generator=each) for each in generators])
        for sequences in torch.split(orders, batch_size, dim=1):
            yield sequences.numpy()

    def batches_per_epoch(self, batch_size: int) -> int:
        """Of so many tunes each, the last maybe of fewer."""
        return math.ceil(len(self._splits["train"].lengths) / batch_size)

    def loss(
        self,
        network: Network,
        weights: Mapping[str, Tensor],
        *,
        batch: NoteBatch,
        carry: tuple[State, ...] | None,
    ) -> BatchLoss:
        """Mean over the real steps of the batch of the cross-entropy summed over notes."""
        nll = step_nll(network, weights, batch=batch)
        return BatchLoss(mean=batch.rows.mean(nll), terms=batch.rows.counts.to(nll.dtype))

    def evaluate(
        self, network: Network, weights: Mapping[str, Tensor], *, split: str
    ) -> dict[str, Tensor]:
        """Mean negative log-likelihood per step of a split, in nats, in two averages.

        Args:
            network: recurrent block and readout.
            weights: of the network.
            split: ``train``, ``valid`` or ``test``.

        Returns:
            ``nll_nats``, the mean over all steps, and ``nll_nats_batch_mean``, that of the released
            code: see ``batch_mean``. ``(replica,)`` each, in double precision.
        """
        lengths = self._splits[split].lengths
        replicas = next(iter(weights.values())).shape[0]
        sums = torch.zeros(replicas, len(lengths), dtype=torch.float64, device=self.device)
        rows_per_replica = max(EVALUATION_ROWS // replicas, 1)
        for sequences in length_sorted_batches(lengths, rows_per_replica):
            batch = self._batch(split, np.tile(sequences, (replicas, 1)))
            nll = step_nll(network, weights, batch=batch).double()
            sums[:, placed(sequences, self.device)] = batch.rows.sum_by_sequence(nll)
        steps = torch.from_numpy(lengths).to(sums)
        return {
            "nll_nats": sums.sum(dim=1) / steps.sum(),
            "nll_nats_batch_mean": batch_mean(sums, steps),
        }

    def _batch(self, split: str, sequences: NDArray[np.int64]) -> PackedNoteBatch:
        """Gather tunes, ``(replica, batch)``, by index."""
        flat = self._splits[split]
        rows = PackedRows(flat.lengths[sequences], self.device)
        return PackedNoteBatch(rows, *self._notes(flat, rows.gather_index(flat.starts[sequences])))

    def _notes(self, flat: FlatRolls, index: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of rows by their place in the split, ``(replica, row, 88)``."""
        # Whole rows: much faster than to index by `index`.
        inputs, targets = (
            flat.notes.index_select(0, places.flatten()).reshape(*index.shape, NOTES)
            for places in (index, index + 1)
        )
        return inputs, targets


def check_rolls(rolls: PianoRolls) -> None:
    """Raise a DataError unless every split has tunes, each a roll with a step to predict."""
    for split in SPLITS:
        tunes = getattr(rolls, split)
        if not tunes:
            raise DataError(f"PolyMusic: the {split} split is empty; every split needs a tune")
        for number, roll in enumerate(tunes):
            if roll.ndim != 2 or roll.shape[1] != NOTES or len(roll) < 2:
                raise DataError(
                    f"PolyMusic: {split} tune {number} must be (time, {NOTES}) with at least "
                    f"2 steps, the first of which nothing predicts, got {roll.shape}; leave it out"
                )
            if roll.dtype != np.uint8 or roll.max() > 1:
                raise DataError(
                    f"PolyMusic: {split} tune {number} must have a byte 0 or 1 for each note, got "
                    f"{roll.dtype} up to {roll.max()}; write 1 for every note that sounds"
                )


def step_nll(network: Network, weights: Mapping[str, Tensor], *, batch: NoteBatch) -> Tensor:
    """Cross-entropy of each step, summed over its notes, in nats, ``(replica, row)``."""
    logits, _ = network.forward(weights, batch.inputs, rows=batch.rows)
    return note_nll(logits, batch.targets)


def batch_mean(sums: Tensor, steps: Tensor) -> Tensor:
    """Average as the released code does, for comparison with published values.

    The mean, weighted by numbers of sequences, of the per-step means of consecutive batches of 32
    sequences in file order: a step counts for more the shorter the tunes of its batch are.

    Args:
        sums: summed loss of each sequence, ``(replica, sequence)``.
        steps: of each sequence, ``(sequence,)``.

    Returns:
        ``(replica,)``.
    """
    batch_means = [
        batch_sums.sum(dim=1) / batch_steps.sum() * batch_steps.numel()
        for batch_sums, batch_steps in zip(
            torch.split(sums, RELEASED_BATCH, dim=1),
            torch.split(steps, RELEASED_BATCH),
            strict=True,
        )
    ]
    return torch.stack(batch_means).sum(dim=0) / steps.numel()


TASK = PolyMusic
