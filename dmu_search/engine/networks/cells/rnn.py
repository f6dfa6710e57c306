"""Elman's recurrent network."""

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
class RNN(GatedCell):
    """``h_t = tanh(x W + b + h_{t-1} R + c)``."""

    @property
    def gates(self) -> int:
        """The new state alone."""
        return 1

    @property
    def program(self) -> Program:
        """Nothing but the state is kept."""
        return self._program(4, gates=0)

    def step(self, weights: Mapping[str, Tensor], x_projected: Tensor, state: State) -> State:
        """One step of ``h``."""
        return (torch.tanh(torch.baddbmm(x_projected, state[0], weights["state.weight"])),)


def build(input_size: int, settings: NetworkSettings) -> tuple[Cell, ...]:
    """One cell per width."""
    return stack(RNN, input_size, settings=settings)
