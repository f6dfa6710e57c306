"""Gated recurrent unit."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dmu_search.engine.kernels.native.recurrence import Program
from dmu_search.engine.kernels.rows import State
from dmu_search.engine.networks.cells.base import Cell
from dmu_search.engine.networks.cells.gated import GatedCell, stack
from dmu_search.engine.settings import NetworkSettings


@dataclass(frozen=True)
class GRU(GatedCell):
    """``h_t = (1 - z) * n + z * h_{t-1}`` with ``n = tanh(x W + b + r * (h R + c))``.

    PyTorch's variant: the reset gate ``r`` acts after the product. The columns are r, z, n.
    """

    @property
    def gates(self) -> int:
        """r, z, n."""
        return 3

    def projection(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Those of all gates; the state's bias stays out, since ``r`` scales it."""
        return weights["input.bias"], weights["input.weight"]

    @property
    def program(self) -> Program:
        """The gates, and the product that ``r`` scales."""
        return self._program(3, gates=4, bias="state.bias")

    def step(self, weights: Mapping[str, Tensor], x_projected: Tensor, state: State) -> State:
        """One step of ``h``."""
        (h,) = state
        sizes = [2 * self.width, self.width]
        recurrent = torch.baddbmm(weights["state.bias"], h, weights["state.weight"])
        x_gates, x_new = torch.split(x_projected, sizes, dim=-1)
        h_gates, h_new = torch.split(recurrent, sizes, dim=-1)
        r, z = torch.sigmoid(x_gates + h_gates).chunk(2, dim=-1)
        return (torch.lerp(torch.tanh(torch.addcmul(x_new, r, h_new)), h, z),)


def build(input_size: int, settings: NetworkSettings) -> tuple[Cell, ...]:
    """One cell per width."""
    return stack(GRU, input_size, settings=settings)
