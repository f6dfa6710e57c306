"""Recurrent Highway Network: several highway layers between one step and the next."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

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
from dmu_search.errors import ConfigError


@dataclass(frozen=True)
class RHN(Cell):
    """Highway layers ``s_l = h_l * t_l + s_{l-1} * (1 - t_l)``, ``h`` tanh and ``t`` sigmoid.

    Zilly et al., "Recurrent Highway Networks". Only the first layer reads ``x_t``, without a bias
    of its own. A weight's columns are those of ``h``, then those of ``t``.

    Attributes:
        input_size: width of ``x_t``.
        width: of the state and of every layer.
        depth: recurrence depth, the number of highway layers.
        xavier: whether the products are drawn by Xavier's rule, or like ``torch.nn.Linear``.
    """

    input_size: int
    width: int
    depth: int
    xavier: bool = False

    @property
    def hidden_size(self) -> int:
        """Width of the state."""
        return self.width

    @property
    def shapes(self) -> dict[str, Shape]:
        """``input``, then ``highway_l.weight`` and ``highway_l.bias`` of each layer."""
        both = 2 * self.width
        shapes: dict[str, Shape] = {"input": (self.input_size, both)}
        for number in range(1, self.depth + 1):
            shapes[f"highway_{number}.weight"] = (self.width, both)
            shapes[f"highway_{number}.bias"] = (1, both)
        return shapes

    @property
    def program(self) -> Program:
        """One product per highway layer."""
        layers = [f"highway_{number}" for number in range(1, self.depth + 1)]
        return Program(
            number=1,
            weights=tuple(f"{layer}.weight" for layer in layers),
            biases=(None, *(f"{layer}.bias" for layer in layers[1:])),
            gates=(2,) * self.depth,
            sizes=((self.width, 2 * self.width),) * self.depth,
        )

    def initialise(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """Each product like ``torch.nn.Linear``; with ``xavier`` by that rule, biases 0."""
        weights = {}
        for name, shape in self.shapes.items():
            inputs = self.input_size if name == "input" else self.width
            if name.endswith(".bias") and self.xavier:
                weights[name] = torch.zeros(shape, dtype=dtype)
                continue
            # h and t are products of their own, each as wide as the state.
            bound = xavier_bound(inputs, self.width) if self.xavier else linear_bound(inputs)
            weights[name] = uniform(shape, bound, generator=generator, dtype=dtype)
        return weights

    def projection(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The first layer's bias, and the matrix over ``x_t``."""
        return weights["highway_1.bias"], weights["input"]

    def step(self, weights: Mapping[str, Tensor], x_projected: Tensor, state: State) -> State:
        """Run all highway layers."""
        (s,) = state
        dense = torch.baddbmm(x_projected, s, weights["highway_1.weight"])
        s = highway(dense, s)
        for number in range(2, self.depth + 1):
            bias, weight = weights[f"highway_{number}.bias"], weights[f"highway_{number}.weight"]
            s = highway(torch.baddbmm(bias, s, weight), s)
        return (s,)


def highway(dense: Tensor, s: Tensor) -> Tensor:
    """Let a layer's proposal through where its gate is open.

    Args:
        dense: ``h`` and ``t`` before their activations, ``(replica, batch, 2 * hidden)``.
        s: what the layer below put out, ``(replica, batch, hidden)``.

    Returns:
        ``h * t + s * (1 - t)``, shaped like ``s``.
    """
    h, t = dense.chunk(2, dim=-1)
    return torch.lerp(s, torch.tanh(h), torch.sigmoid(t))


def build(input_size: int, settings: NetworkSettings) -> tuple[Cell, ...]:
    """One cell of recurrence depth ``depth``.

    Raises:
        ConfigError: if the widths differ: the state passes through every layer.
    """
    if len(set(settings.widths)) != 1:
        raise ConfigError(
            f"network.widths: the layers of an RHN share one state, so one width, "
            f"got {list(settings.widths)}; repeat one of them {settings.depth} times"
        )
    xavier = settings.initialisation == "xavier"
    return (RHN(input_size, settings.widths[0], settings.depth, xavier),)
