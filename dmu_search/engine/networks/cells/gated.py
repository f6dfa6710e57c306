"""What LSTM, GRU and RNN share: gates over the input and the state, and stacking."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from dmu_search.engine.kernels.native.recurrence import Program
from dmu_search.engine.networks.cells.base import Cell, Shape
from dmu_search.engine.settings import NetworkSettings


@dataclass(frozen=True)
class GatedCell(Cell):
    """A layer of units with several gates, each over the input and the state.

    A weight's columns are those of the first gate, then those of the second, and so on. There are
    two bias vectors, as in PyTorch: weight counts and the effect of weight decay depend on it.

    Attributes:
        input_size: width of ``x_t``.
        width: units of the layer.
    """

    input_size: int
    width: int

    @property
    @abstractmethod
    def gates(self) -> int:
        """Products of this width per unit and step."""

    @property
    def hidden_size(self) -> int:
        """Units of the layer."""
        return self.width

    @property
    def shapes(self) -> dict[str, Shape]:
        """A weight and a bias over the input, and over the state."""
        columns = self.gates * self.width
        return {
            "input.weight": (self.input_size, columns),
            "input.bias": (1, columns),
            "state.weight": (self.width, columns),
            "state.bias": (1, columns),
        }

    def _program(self, number: int, gates: int, *, bias: str | None = None) -> Program:
        """The one product over the state, with so many activations kept for the backward pass."""
        size = self.shapes["state.weight"]
        components = len(self.state_sizes)
        return Program(number, ("state.weight",), (bias,), (gates,), (size,), components)

    def projection(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Those of all gates; the sum of both biases, as they are only ever added."""
        return weights["input.bias"] + weights["state.bias"], weights["input.weight"]


def stack(
    cell: Callable[[int, int], Cell], input_size: int, *, settings: NetworkSettings
) -> tuple[Cell, ...]:
    """Layers of the given widths, each reading the states of the one below."""
    input_sizes = (input_size, *settings.widths[:-1])
    return tuple(cell(*sizes) for sizes in zip(input_sizes, settings.widths, strict=True))
