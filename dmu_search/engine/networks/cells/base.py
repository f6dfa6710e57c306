"""What the loop over time, the network and the optimiser ask of a recurrent cell."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from dmu_search.engine.kernels.native.recurrence import Program
from dmu_search.engine.kernels.notes import project_notes
from dmu_search.engine.kernels.products import affine
from dmu_search.engine.kernels.rows import State, take_rows

Shape = tuple[int, int]


class Cell(ABC):
    """One recurrent layer: its sizes and its equations, but no tensors.

    Weights are a dict of tensors with a leading replica axis; a matrix is ``(replica, in, out)``
    and a bias ``(replica, 1, out)``, its row axis kept so that it broadcasts over rows.

    Attributes:
        input_size: width of the inputs.
    """

    input_size: int

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """Width of the state that the next layer reads."""

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Width of each component of the state; the first is the one that the next layer reads."""
        return (self.hidden_size,)

    @property
    @abstractmethod
    def shapes(self) -> dict[str, Shape]:
        """Shape of each weight, without the replica axis."""

    @property
    def dense_layers(self) -> dict[str, int]:
        """Dense layer, from 1, of each weight that may have that layer's own learning rate."""
        return {}

    @property
    def program(self) -> Program | None:
        """One step for the native loop; None: the plain loop runs ``step``."""
        return None

    @property
    def weight_count(self) -> int:
        """Trainable numbers of one replica."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def initialise(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """Draw the weights of one replica, without replica axis, on the CPU.

        As PyTorch's recurrent layers, unless a cell says otherwise: all uniform within
        ``1 / sqrt(hidden_size)``.
        """
        bound = linear_bound(self.hidden_size)
        return {
            name: uniform(shape, bound, generator=generator, dtype=dtype)
            for name, shape in self.shapes.items()
        }

    def projection(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Bias and matrix by which the inputs take part.

        The weights ``input.bias`` and ``input.weight``, unless a cell says otherwise.

        Args:
            weights: the cell's own.

        Returns:
            ``(replica, 1, projected)`` and ``(replica, input, projected)``.
        """
        return weights["input.bias"], weights["input.weight"]

    def project(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """All that depends on inputs alone, for all steps at once.

        Args:
            weights: the cell's own.
            x: ``(replica, row, input)``.

        Returns:
            ``(replica, row, projected)``.
        """
        bias, matrix = self.projection(weights)
        return affine(bias, x, matrix)

    def project_symbols(self, weights: Mapping[str, Tensor], symbols: Tensor) -> Tensor:
        """``project`` of one-hot inputs, which are never written out.

        The row of each symbol is looked up: with 100 symbols this is 100 times less work than the
        product.

        Args:
            weights: the cell's own.
            symbols: whole numbers in ``[0, input)``, ``(replica, row)``.

        Returns:
            ``(replica, row, projected)``.
        """
        bias, matrix = self.projection(weights)
        return take_rows(matrix + bias, symbols)

    def project_notes(self, weights: Mapping[str, Tensor], notes: Tensor) -> Tensor:
        """``project`` of multi-hot inputs.

        Args:
            weights: the cell's own.
            notes: 1 or 0 as bytes, ``(replica, row, input)``.

        Returns:
            ``(replica, row, projected)``.
        """
        bias, matrix = self.projection(weights)
        return project_notes(bias, notes, matrix)

    @abstractmethod
    def step(self, weights: Mapping[str, Tensor], x_projected: Tensor, state: State) -> State:
        """One step of the recurrence.

        Args:
            weights: the cell's own.
            x_projected: one step's rows of ``project``, ``(replica, batch, projected)``.
            state: one ``(replica, batch, hidden)`` per component.

        Returns:
            The next state, shaped alike.
        """


def xavier_bound(inputs: int, outputs: int, *, gain: float = 1.0) -> float:
    """Bound of Xavier's uniform initialisation (Glorot and Bengio 2010)."""
    return gain * math.sqrt(6.0 / (inputs + outputs))


def linear_bound(inputs: int) -> float:
    """Bound with which ``torch.nn.Linear`` draws weights and biases."""
    return 1.0 / math.sqrt(inputs)


def uniform(
    shape: Shape, bound: float, *, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Draw uniformly from ``[-bound, bound]``."""
    return torch.empty(shape, dtype=dtype).uniform_(-bound, bound, generator=generator)
