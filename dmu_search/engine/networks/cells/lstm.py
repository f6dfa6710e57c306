"""Long short-term memory."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dmu_search.engine.kernels.native.recurrence import Program
from dmu_search.engine.kernels.rows import State
from dmu_search.engine.networks.cells.base import Cell
from dmu_search.engine.networks.cells.gated import GatedCell, stack
from dmu_search.engine.settings import NetworkSettings

FORGET_BIAS = 2.0


@dataclass(frozen=True)
class LSTM(GatedCell):
    """``c_t = f * c_{t-1} + i * tanh(g)``, ``h_t = o * tanh(c_t)``; ``i, f, o`` are sigmoids.

    The columns are those of i, f, o, g: PyTorch's i, f, g, o, reordered so that one sigmoid does
    for all gates. The state is ``(h, c)``.
    """

    @property
    def gates(self) -> int:
        """i, f, o, g."""
        return 4

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Width of ``h`` and of ``c``."""
        return (self.width, self.width)

    def initialise(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """As PyTorch, but 2 in the forget gate's entries of both bias vectors."""
        weights = super().initialise(generator, dtype)
        for name in ("input.bias", "state.bias"):
            weights[name][:, self.width : 2 * self.width] = FORGET_BIAS
        return weights

    @property
    def program(self) -> Program:
        """The gates, and the tanh of ``c``."""
        return self._program(2, gates=5)

    def step(self, weights: Mapping[str, Tensor], x_projected: Tensor, state: State) -> State:
        """One step of ``(h, c)``."""
        h, c = state
        gates = torch.baddbmm(x_projected, h, weights["state.weight"])
        sigmoids, g = torch.split(gates, [3 * self.width, self.width], dim=-1)
        i, f, o = torch.sigmoid(sigmoids).chunk(3, dim=-1)
        c = torch.addcmul(f * c, i, torch.tanh(g))
        return (o * torch.tanh(c), c)


def build(input_size: int, settings: NetworkSettings) -> tuple[Cell, ...]:
    """One cell per width."""
    return stack(LSTM, input_size, settings=settings)
