"""Deep Memory Update: a feedforward network of any depth decides how the memory changes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dmu_search.engine.kernels.native.recurrence import Program
from dmu_search.engine.kernels.rows import State
from dmu_search.engine.networks.cells.base import (
    Cell,
    Shape,
    linear_bound,
    uniform,
    xavier_bound,
)
from dmu_search.engine.settings import NetworkSettings

LEAKY_SLOPE = 0.01


def blend(keep: Tensor, proposal: Tensor, state: Tensor) -> Tensor:
    """Memory update of a DMU cell: ``h_t = keep * h_{t-1} + (1 - keep) * tanh(proposal)``.

    Neumann et al., "Deep Memory Update", with ``keep = sigmoid(z_t)``.

    Args:
        keep: share of the old state that stays, in [0, 1], ``(replica, batch, hidden)``.
        proposal: new content before its activation, same shape.
        state: ``h_{t-1}``, same shape.

    Returns:
        ``h_t``, same shape.
    """
    return torch.lerp(torch.tanh(proposal), state, keep)


@dataclass(frozen=True)
class DMU(Cell):
    """Memory updated by a feedforward network over ``[x_t, h_{t-1}]``.

    Dense layers ``u_1 .. u_(k-1)`` with leaky ReLU and a linear one of ``2 u_k`` neurons, whose
    halves are ``z_t`` and the proposal of ``blend``. The first layer has one matrix over ``x_t``
    and one over ``h_{t-1}``, because only the latter takes part in the loop.

    Attributes:
        input_size: width of ``x_t``.
        widths: ``(u_1, .., u_k)``, the last being the memory.
        z_bias: added to the bias of ``z_t`` at initialisation.
        xavier: whether the layers are drawn as in the released code, or like ``torch.nn.Linear``.
    """

    input_size: int
    widths: tuple[int, ...]
    z_bias: float = 0.0
    xavier: bool = True

    @property
    def hidden_size(self) -> int:
        """Width of the memory."""
        return self.widths[-1]

    @property
    def _outputs(self) -> tuple[int, ...]:
        """Width of each dense layer's output."""
        return (*self.widths[:-1], 2 * self.hidden_size)

    @property
    def shapes(self) -> dict[str, Shape]:
        """``dense_1.input``, ``dense_1.state``, then one ``weight`` and ``bias`` per layer."""
        first, *later = self._outputs
        shapes = {
            "dense_1.input": (self.input_size, first),
            "dense_1.state": (self.hidden_size, first),
            "dense_1.bias": (1, first),
        }
        for number, (width_in, width_out) in enumerate(
            zip(self._outputs, later, strict=False), start=2
        ):
            shapes[f"dense_{number}.weight"] = (width_in, width_out)
            shapes[f"dense_{number}.bias"] = (1, width_out)
        return shapes

    @property
    def dense_layers(self) -> dict[str, int]:
        """The number in each weight's name."""
        return {name: int(name.split(".")[0].removeprefix("dense_")) for name in self.shapes}

    @property
    def program(self) -> Program:
        """One product per dense layer."""
        later = [f"dense_{number}" for number in range(2, len(self.widths) + 1)]
        weights = ("dense_1.state", *(f"{layer}.weight" for layer in later))
        return Program(
            number=0,
            weights=weights,
            biases=(None, *(f"{layer}.bias" for layer in later)),
            gates=(0,) * len(later) + (2,),
            sizes=tuple(self.shapes[name] for name in weights),
        )

    def initialise(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """Xavier uniform over each whole layer, leaky-ReLU gain below the last, biases 0.

        Without ``xavier`` each layer, biases included, like ``torch.nn.Linear``.
        """
        weights = {}
        for name, shape in self.shapes.items():
            if name.endswith(".bias") and self.xavier:
                weights[name] = torch.zeros(shape, dtype=dtype)
            else:
                weights[name] = uniform(
                    shape, self._bound(self.dense_layers[name]), generator=generator, dtype=dtype
                )
        weights[f"dense_{len(self.widths)}.bias"][:, : self.hidden_size] += self.z_bias
        return weights

    def _bound(self, number: int) -> float:
        """Of the weights of dense layer ``number``, the first over ``[x_t, h_{t-1}]``."""
        inputs = (self.input_size + self.hidden_size, *self._outputs)[number - 1]
        if not self.xavier:
            return linear_bound(inputs)
        last = number == len(self.widths)
        gain = 1.0 if last else math.sqrt(2.0 / (1.0 + LEAKY_SLOPE**2))
        return xavier_bound(inputs, self._outputs[number - 1], gain=gain)

    def projection(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Those of the first layer."""
        return weights["dense_1.bias"], weights["dense_1.input"]

    def step(self, weights: Mapping[str, Tensor], x_projected: Tensor, state: State) -> State:
        """Run the dense layers, then ``blend``."""
        (memory,) = state
        dense = torch.baddbmm(x_projected, memory, weights["dense_1.state"])
        for number in range(2, len(self.widths) + 1):
            dense = torch.baddbmm(
                weights[f"dense_{number}.bias"],
                functional.leaky_relu(dense, LEAKY_SLOPE),
                weights[f"dense_{number}.weight"],
            )
        z, proposal = dense.chunk(2, dim=-1)
        return (blend(torch.sigmoid(z), proposal, memory),)


def build(input_size: int, settings: NetworkSettings) -> tuple[Cell, ...]:
    """One cell of ``depth`` dense layers."""
    xavier = settings.initialisation != "pytorch"
    return (DMU(input_size, settings.widths, settings.z_bias, xavier),)
