"""Time-major packing of a batch of sequences, without rows for steps that do not exist."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmu_search.errors import ConfigError

Integers = NDArray[np.int64]
# Of a cell: its components, the first being the one that the next layer reads.
State = tuple[Tensor, ...]


def take_rows(values: Tensor, index: Tensor) -> Tensor:
    """Pick rows of each replica: ``result[r, i] = values[r, index[r, i]]``.

    Args:
        values: ``(replica, row, feature)``, or without features ``(replica, row)``.
        index: rows to take, ``(replica, taken)``.

    Returns:
        ``(replica, taken, feature)`` or ``(replica, taken)``.
    """
    replicas, available = values.shape[:2]
    first = torch.arange(replicas, device=index.device).unsqueeze(1) * available
    # Whole rows of a flat view: much faster than `gather`, which wants an index per element.
    flat = values.flatten(0, 1).index_select(0, (index + first).flatten())
    return flat.reshape(*index.shape, *values.shape[2:])


def sent(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on ``device``; the queue of a GPU goes on meanwhile.

    From ordinary memory the copy would wait until the GPU has done all that it was given before.
    """
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def placed(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on ``device``, as ``sent`` does it."""
    # Rows are kept: one first used while evaluating, an inference tensor, would not do in training.
    with torch.inference_mode(False):
        return sent(torch.from_numpy(values), device)


class Rows(Protocol):
    """What network and loss ask of the packing of a batch."""

    @property
    def replicas(self) -> int:
        """Size of the replica axis."""

    @property
    def batch(self) -> int:
        """Sequences in each replica's batch."""

    @property
    def step_sizes(self) -> list[int]:
        """Rows that each step of a loop over all replicas needs; they never grow."""

    @property
    def counts(self) -> Tensor:
        """Real rows of each replica, ``(replica,)``."""

    def sort(self, values: Tensor) -> Tensor:
        """Bring ``(replica, batch, feature)`` from batch order into the order of rows of a step."""

    def last(self, packed: Tensor) -> Tensor:
        """Pick the row of each sequence's own last step, ``(replica, batch, feature)``."""

    def to_steps(self, packed: Tensor) -> Tensor:
        """Bring rows into the layout of the loop, ``step_sizes`` one after the other."""

    def from_steps(self, steps: Tensor) -> Tensor:
        """Inverse of ``to_steps`` on real rows."""

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each replica's real rows: ``(replica, row)`` to ``(replica,)``."""


@dataclass(frozen=True, eq=False)
class PackedRows:
    """Where each step of each sequence of a batch lies in packed tensors.

    A packed tensor is ``(replica, row, feature)``. A replica's rows are those of time 0, then those
    of time 1, and so on; within a time, longer sequences come first (ties in batch order), so that
    the sequences still running are always the first ones. Each replica has its own batch, hence its
    own number of rows: shorter replicas are padded at the end up to the longest, and ``valid``
    tells their rows from padding. Padded rows point at the replica's first step, so that whatever
    is gathered for them is finite.

    Attributes:
        lengths: steps of each sequence, all >= 1, ``(replica, batch)``.
        device: where the index tensors live.
    """

    lengths: Integers
    device: torch.device

    def __post_init__(self) -> None:
        if self.lengths.ndim != 2 or self.lengths.size == 0:
            raise ConfigError(
                f"lengths must be a non-empty (replica, batch) array, got {self.lengths.shape}"
            )
        if self.lengths.min() < 1:
            raise ConfigError(
                f"every sequence needs at least 1 step, got a length of {self.lengths.min()}"
            )

    @property
    def replicas(self) -> int:
        """Size of the replica axis."""
        return len(self.lengths)

    @property
    def batch(self) -> int:
        """Sequences in each replica's batch."""
        return len(self.lengths[0])

    @cached_property
    def order(self) -> Integers:
        """Original index of the sequence at each sorted position, ``(replica, batch)``."""
        return np.argsort(-self.lengths, axis=1, kind="stable")

    @cached_property
    def active_rows(self) -> Integers:
        """Sequences that still run at each time, ``(replica, time)``."""
        times = int(self.lengths.max())
        replica = np.arange(self.replicas)[:, None]
        ends = np.bincount(
            (self.lengths + replica * (times + 1)).ravel(), minlength=self.replicas * (times + 1)
        )
        ended = ends.reshape(self.replicas, times + 1).cumsum(axis=1)[:, :times]
        return self.batch - ended

    @cached_property
    def offsets(self) -> Integers:
        """First packed row of each time, ``(replica, time)``."""
        return self.active_rows.cumsum(axis=1) - self.active_rows

    @cached_property
    def row_counts(self) -> Integers:
        """Real rows of each replica, ``(replica,)``."""
        counts: Integers = self.lengths.sum(axis=1)
        return counts

    @cached_property
    def counts(self) -> Tensor:
        """``row_counts`` as a tensor, ``(replica,)``."""
        return placed(self.row_counts, self.device)

    @cached_property
    def step_sizes(self) -> list[int]:
        """Rows that each step of a loop over all replicas needs: the maximum over replicas."""
        sizes: list[int] = self.active_rows.max(axis=0).tolist()
        return sizes

    @cached_property
    def agree(self) -> bool:
        """Whether all replicas have the same rows, so that packed and step layout coincide."""
        return bool((self.active_rows == self.active_rows[0]).all())

    @cached_property
    def _valid(self) -> NDArray[np.bool_]:
        return np.arange(self.row_counts.max()) < self.row_counts[:, None]

    @cached_property
    def _time_and_position(self) -> tuple[Integers, Integers]:
        """Time, and position among the sorted sequences, of each row, ``(replica, row)`` each."""
        active = self.active_rows.ravel()
        step = np.repeat(np.arange(active.size), active)
        first_of_step = active.cumsum() - active
        time, position = np.zeros((2, *self._valid.shape), dtype=np.int64)
        time[self._valid] = step % self.active_rows.shape[1]
        position[self._valid] = np.arange(step.size) - first_of_step[step]
        return time, position

    @cached_property
    def valid(self) -> Tensor:
        """True for real rows, False for padding, ``(replica, row)``."""
        return placed(self._valid, self.device)

    @cached_property
    def time(self) -> Tensor:
        """Time of each row, ``(replica, row)``."""
        return placed(self._time_and_position[0], self.device)

    @cached_property
    def sequence(self) -> Tensor:
        """Index in the original batch of the sequence of each row, ``(replica, row)``."""
        sequence = np.take_along_axis(self.order, self._time_and_position[1], axis=1)
        return placed(sequence, self.device)

    @cached_property
    def _sorted_order(self) -> Tensor:
        return placed(self.order, self.device)

    @cached_property
    def _last_row(self) -> Tensor:
        """Packed row of the last step of each sequence, in batch order, ``(replica, batch)``."""
        rank = np.argsort(self.order, axis=1, kind="stable")
        last = np.take_along_axis(self.offsets, self.lengths - 1, axis=1) + rank
        return placed(last, self.device)

    @cached_property
    def _step_to_packed(self) -> Tensor:
        """Packed row behind each row of the step layout; row 0 where a replica has none."""
        sizes = np.array(self.step_sizes)
        time = np.repeat(np.arange(sizes.size), sizes)
        position = np.arange(time.size) - (sizes.cumsum() - sizes)[time]
        index = np.where(position < self.active_rows[:, time], self.offsets[:, time] + position, 0)
        return placed(index, self.device)

    @cached_property
    def _packed_to_step(self) -> Tensor:
        """Row of the step layout behind each packed row."""
        sizes = np.array(self.step_sizes)
        time, position = self._time_and_position
        return placed((sizes.cumsum() - sizes)[time] + position, self.device)

    def gather_index(self, starts: Integers) -> Tensor:
        """Index of each packed row in a concatenation of all sequences of a data set.

        Args:
            starts: where each sequence of the batch starts there, ``(replica, batch)``.

        Returns:
            ``(replica, row)``.
        """
        return placed(starts, self.device).gather(1, self.sequence) + self.time

    def sort(self, values: Tensor) -> Tensor:
        """Bring ``(replica, batch, feature)`` from batch order into sorted order."""
        return take_rows(values, self._sorted_order)

    def last(self, packed: Tensor) -> Tensor:
        """Pick the row of each sequence's own last step.

        Args:
            packed: ``(replica, row, feature)``.

        Returns:
            ``(replica, batch, feature)``, in batch order.
        """
        return take_rows(packed, self._last_row)

    def to_steps(self, packed: Tensor) -> Tensor:
        """Bring packed rows into the step layout, where all replicas share ``step_sizes``.

        Where a replica has fewer running sequences than another, the surplus rows repeat its first
        row: finite numbers that ``from_steps`` drops.
        """
        return packed if self.agree else take_rows(packed, self._step_to_packed)

    def from_steps(self, steps: Tensor) -> Tensor:
        """Inverse of ``to_steps`` on real rows."""
        return steps if self.agree else take_rows(steps, self._packed_to_step)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each replica's real rows: ``(replica, row)`` to ``(replica,)``."""
        return values.where(self.valid, 0.0).sum(dim=1) / self.counts.to(values.dtype)

    def sum_by_sequence(self, values: Tensor) -> Tensor:
        """Sum over the steps of each sequence: ``(replica, row)`` to ``(replica, batch)``."""
        sums = values.new_zeros(self.lengths.shape)
        return sums.scatter_add(1, self.sequence, values.where(self.valid, 0.0))


# A recorded step reads these tensors, so none may be dropped; there are a few shapes in a process.
@cache
def full_rows(replicas: int, batch: int, *, times: int, device: torch.device) -> PackedRows:
    """The packing of sequences that are all equally long: step after step, in batch order."""
    return PackedRows(np.full((replicas, batch), times, dtype=np.int64), device)


def length_sorted_batches(lengths: NDArray[np.int64], rows: int) -> list[NDArray[np.int64]]:
    """Split sequences into batches of similar lengths, so that few steps are needed in all.

    Args:
        lengths: of each sequence, ``(sequence,)``.
        rows: steps that a batch may hold, exceeded by less than its last sequence.

    Returns:
        Indices of sequences, longest first.
    """
    order = np.argsort(-lengths, kind="stable")
    before = lengths[order].cumsum() - lengths[order]
    cuts = np.flatnonzero(np.diff(before // rows)) + 1
    return np.split(order, cuts)
