"""Few fixed shapes that all batches of a data set fit in, for steps that are recorded once."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from dmu_search.engine.kernels.rows import Integers, placed, take_rows

# A recorded step costs memory and seconds, so there are few. On Nottingham, batches of 32 then
# take 1.1 times the steps, and 1.4 times the rows, that they would without padding.
BUCKETS = 8
# Batches that are drawn to find shapes that fit.
SAMPLED_BATCHES = 256
SAMPLING_SEED = 4_000_000_005
# Steps are rounded up to a multiple of the first, the rows of a step to one of the second.
STEP_MULTIPLE, ROW_MULTIPLE = 32, 4


class FixedBatch(Protocol):
    """A batch that can be written into the tensors of another one of its bucket.

    Attributes:
        bucket: equal for batches whose tensors have equal shapes and mean the same.
        tensors: all that tells such batches apart; no memory is shared with another batch.
    """

    @property
    def bucket(self) -> Hashable:
        """The shape."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The contents, in a fixed order."""


@dataclass(frozen=True)
class Bucket:
    """The shape of a batch: how many rows each time step has, in every replica.

    Attributes:
        step_sizes: rows of each time, never growing; the first is the room for sequences.
    """

    step_sizes: tuple[int, ...]

    @cached_property
    def rows(self) -> int:
        """Rows of each replica."""
        return sum(self.step_sizes)

    @cached_property
    def time(self) -> Integers:
        """Time of each row, ``(row,)``."""
        return np.repeat(np.arange(len(self.step_sizes)), self.step_sizes)

    @cached_property
    def offsets(self) -> Integers:
        """First row of each time, ``(time,)``."""
        sizes = np.array(self.step_sizes)
        first: Integers = sizes.cumsum() - sizes
        return first

    @cached_property
    def position(self) -> Integers:
        """Place of each row among those of its time, ``(row,)``."""
        position: Integers = np.arange(self.rows) - self.offsets[self.time]
        return position

    def fits(self, active_rows: Integers) -> bool:
        """Whether there is room for so many rows at each time, ``(time,)``."""
        times = len(active_rows)
        return times <= len(self.step_sizes) and bool(
            (active_rows <= np.array(self.step_sizes[:times])).all()
        )


@dataclass(frozen=True, eq=False)
class BucketRows:
    """A batch in the rows of a bucket; the counterpart of ``PackedRows`` with a fixed shape.

    Replicas share the layout, ``step_sizes`` rows one time after the other, and each fills the
    first rows of every time, longer sequences first, as far as it has any. What an empty row
    computes is finite and reaches nothing: losses leave it out, and the state of a sequence is
    read at its own last step.

    Attributes:
        bucket: the shape.
        order: sequence at each sorted position, ``(replica, batch)``; room for sequences that the
            batch does not have comes last.
        last_row: row of the last step of each sequence, in batch order, ``(replica, batch)``.
        empty: true for rows without a step, ``(replica, row)``.
        counts: real rows, ``(replica,)``.
        source: where to gather each row from, see ``place``, ``(replica, row)``.
    """

    bucket: Bucket
    order: Tensor
    last_row: Tensor
    empty: Tensor
    counts: Tensor
    source: Tensor

    @classmethod
    def place(
        cls, bucket: Bucket, lengths: Integers, *, starts: Integers, device: torch.device
    ) -> "BucketRows":
        """Put a batch into a bucket that it fits in.

        Args:
            bucket: the shape.
            lengths: steps of each sequence, all >= 1, ``(replica, batch)``.
            starts: first step of each in a concatenation of all sequences, shaped alike; ``source``
                is the index there, that of a replica's first row where a row is empty.
            device: where to.
        """
        room = ((0, 0), (0, bucket.step_sizes[0] - lengths.shape[1]))
        lengths, starts = np.pad(lengths, room), np.pad(starts, room)
        order = np.argsort(-lengths, axis=1, kind="stable")
        rank = np.argsort(order, axis=1, kind="stable")
        own_length = np.take_along_axis(lengths, order, axis=1)[:, bucket.position]
        own_start = np.take_along_axis(starts, order, axis=1)[:, bucket.position]
        empty = own_length <= bucket.time
        return cls(
            bucket,
            order=placed(order, device),
            last_row=placed(bucket.offsets[np.maximum(lengths - 1, 0)] + rank, device),
            empty=placed(empty, device),
            counts=placed(lengths.sum(axis=1), device),
            source=placed(np.where(empty, own_start[:, :1], own_start + bucket.time), device),
        )

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that tells batches of a bucket apart."""
        return self.order, self.last_row, self.empty, self.counts

    @property
    def replicas(self) -> int:
        """Size of the replica axis."""
        return len(self.order)

    @property
    def batch(self) -> int:
        """Room for sequences in each replica's batch."""
        return self.bucket.step_sizes[0]

    @property
    def step_sizes(self) -> list[int]:
        """Rows of each step."""
        return list(self.bucket.step_sizes)

    def sort(self, values: Tensor) -> Tensor:
        """Bring ``(replica, batch, feature)`` from batch order into sorted order."""
        return take_rows(values, self.order)

    def last(self, packed: Tensor) -> Tensor:
        """Pick the row of each sequence's own last step, ``(replica, batch, feature)``."""
        return take_rows(packed, self.last_row)

    def to_steps(self, packed: Tensor) -> Tensor:
        """Nothing to do: rows lie as the loop wants them."""
        return packed

    def from_steps(self, steps: Tensor) -> Tensor:
        """Nothing to do."""
        return steps

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each replica's real rows: ``(replica, row)`` to ``(replica,)``."""
        # `where` with a number would copy that to the GPU, which a recording cannot hold.
        return values.masked_fill(self.empty, 0.0).sum(dim=1) / self.counts.to(values.dtype)


def active_rows(lengths: Integers) -> Integers:
    """Rows that a batch needs at each time, the most over replicas, ``(time,)``.

    Args:
        lengths: steps of each sequence, ``(replica, batch)``.
    """
    times = int(lengths.max())
    # Counted by length, as there are far fewer sequences than steps.
    ends = np.stack([np.bincount(own, minlength=times + 1) for own in lengths])
    rows: Integers = (lengths.shape[1] - ends.cumsum(axis=1)[:, :times]).max(axis=0)
    return rows


def find_buckets(lengths: Integers, batch_size: int, *, replicas: int) -> tuple[Bucket, ...]:
    """Shapes for the batches that training draws, each replica without replacement, of a data set.

    Batches are drawn as training will draw them, and grouped by their number of steps, which is
    what a step takes time for; a bucket holds any batch of its group. One more is large enough for
    the longest sequences at once in all replicas, so there is one for every batch.

    Args:
        lengths: of all sequences, ``(sequence,)``.
        batch_size: sequences that a replica draws at a time, the last time fewer.
        replicas: that draw side by side.

    Returns:
        At most ``BUCKETS``, smallest first.
    """
    generator = np.random.default_rng(SAMPLING_SEED)
    needed: dict[int, Integers] = {}
    group_sizes: dict[int, int] = {}
    for sample in _sample(lengths, batch_size, replicas=replicas, generator=generator):
        rows = active_rows(sample)
        steps = _ceil(len(rows), STEP_MULTIPLE)
        rows = np.pad(rows, (0, steps - len(rows)))
        needed[steps] = np.maximum(rows, needed.get(steps, 0))
        group_sizes[steps] = group_sizes.get(steps, 0) + 1
    while len(needed) >= BUCKETS:
        _merge_cheapest(needed, group_sizes)
    longest = np.sort(lengths)[-batch_size:]
    everything = _rounded(active_rows(longest[None]), longest.size)
    found = {_rounded(rows, longest.size) for rows in needed.values()} | {everything}
    return tuple(sorted(found, key=lambda bucket: (len(bucket.step_sizes), bucket.rows)))


def smallest_fit(buckets: Sequence[Bucket], lengths: Integers) -> Bucket:
    """The first bucket that has room for a batch with these lengths, ``(replica, batch)``."""
    needed = active_rows(lengths)
    return next(bucket for bucket in buckets if bucket.fits(needed))


def _sample(
    lengths: Integers, batch_size: int, *, replicas: int, generator: np.random.Generator
) -> list[Integers]:
    samples: list[Integers] = []
    while len(samples) < SAMPLED_BATCHES:
        orders = [generator.permutation(lengths) for _ in range(replicas)]
        samples += np.split(np.stack(orders), range(batch_size, lengths.size, batch_size), axis=1)
    return samples


def _merge_cheapest(needed: dict[int, Integers], group_sizes: dict[int, int]) -> None:
    """Let the group join the next longer one where that adds the fewest steps in all."""
    steps = sorted(needed)
    added = [group_sizes[a] * (b - a) for a, b in pairwise(steps)]
    cheapest = int(np.argmin(added))
    shorter, longer = steps[cheapest], steps[cheapest + 1]
    rows = needed.pop(shorter)
    rows = np.pad(rows, (0, longer - shorter))
    needed[longer] = np.maximum(needed[longer], rows)
    group_sizes[longer] += group_sizes.pop(shorter)


def _rounded(rows: Integers, sequences: int) -> Bucket:
    """A bucket for these rows at each time, of at least one row, and of no more than sequences."""
    steps = _ceil(len(rows), STEP_MULTIPLE)
    rows = np.pad(rows, (0, steps - len(rows)))
    sizes = np.minimum(_ceil(np.maximum(rows, 1), ROW_MULTIPLE), sequences)
    # Rounding keeps the order, and a group's rows never grow with time as no batch's do.
    return Bucket(tuple(sizes.tolist()))


Whole = TypeVar("Whole", int, Integers)


def _ceil(value: Whole, multiple: int) -> Whole:
    return -(-value // multiple) * multiple
