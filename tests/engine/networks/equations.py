"""Cells, one replica and one sequence at a time, straight from the equations of their papers."""

import torch
from torch import Tensor


def dmu_scan(weights: dict[str, Tensor], xs: Tensor, h: Tensor) -> Tensor:
    """Deep Memory Update: a feedforward network over ``[x_t, h_{t-1}]``, unit by unit.

    ``weights`` lack the replica axis; ``xs`` is ``(time, input)``, ``h`` is ``(hidden,)``.
    """
    depth = sum(name.endswith(".bias") for name in weights)
    first = torch.cat([weights["dense_1.input"], weights["dense_1.state"]])
    matrices = [first] + [weights[f"dense_{i}.weight"] for i in range(2, depth + 1)]
    states = []
    for x in xs:
        units = [*x, *h]
        for number, matrix in enumerate(matrices, start=1):
            units = dense(units, matrix, weights[f"dense_{number}.bias"][0])
            if number < depth:
                units = [unit if unit > 0 else 0.01 * unit for unit in units]
        z, proposal = units[: len(h)], units[len(h) :]
        keep = [1 / (1 + torch.exp(-unit)) for unit in z]
        h = torch.stack(
            [h[j] * keep[j] + torch.tanh(proposal[j]) * (1 - keep[j]) for j in range(len(h))]
        )
        states.append(h)
    return torch.stack(states)


def rhn_scan(weights: dict[str, Tensor], xs: Tensor, s: Tensor) -> Tensor:
    """Recurrent Highway Network, unit by unit; shapes as in ``dmu_scan``."""
    depth = sum(name.endswith(".bias") for name in weights)
    states = []
    for x in xs:
        for number in range(1, depth + 1):
            bias = weights[f"highway_{number}.bias"][0]
            units = dense(list(s), weights[f"highway_{number}.weight"], bias)
            if number == 1:
                from_input = dense(list(x), weights["input"], torch.zeros_like(bias))
                units = [a + b for a, b in zip(units, from_input, strict=True)]
            h = [torch.tanh(unit) for unit in units[: len(s)]]
            t = [1 / (1 + torch.exp(-unit)) for unit in units[len(s) :]]
            s = torch.stack([h[j] * t[j] + s[j] * (1 - t[j]) for j in range(len(s))])
        states.append(s)
    return torch.stack(states)


def dense(units: list[Tensor], matrix: Tensor, bias: Tensor) -> list[Tensor]:
    """``sum_i units_i * matrix_ij + bias_j`` for every j."""
    return [
        sum((unit * matrix[i, j] for i, unit in enumerate(units)), start=bias[j])
        for j in range(matrix.shape[1])
    ]
