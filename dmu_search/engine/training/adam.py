"""Adam, as ``torch.optim.Adam(fused=True)`` does it, to the bit.

That class is not used because the first one that a process makes imports PyTorch's compiler: more
than a second of CPU time for every process that trains, half as much again as PyTorch itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# PyTorch's defaults, which the paper's authors use.
_BETAS = 0.9, 0.999
_EPSILON = 1e-8

# Adam's kernel rounds otherwise in vector registers than in the loop over what is left behind the
# last full one, so weights lie in memory of whole registers. This is a multiple of any's length.
_WHOLE = 64

# Of a weight: its moments, and the number of steps.
_STATE = "exp_avg", "exp_avg_sq", "step"


@dataclass(eq=False)
class AdamGroup:
    """Weights that share a learning rate.

    Attributes:
        weights: flat, each in memory of whole registers.
        gradients: of them, likewise.
        state: by name, a tensor for each weight, zeros at first.
        learning_rate: a tensor beside the weights if steps are recorded and replayed, so that a
            replayed step sees it change. It is in single precision, all that the kernel reads.
        weight_decay: coupled L2.
    """

    weights: list[Tensor]
    gradients: list[Tensor]
    state: Mapping[str, list[Tensor]]
    learning_rate: Tensor | float
    weight_decay: float

    @classmethod
    def of(
        cls,
        weights: Sequence[Tensor],
        *,
        learning_rate: float,
        weight_decay: float,
        recordable: bool,
    ) -> "AdamGroup":
        """A group before its first step.

        Args:
            weights: of any shape; they move, with their gradients, to the memory of the group.
            learning_rate: of the first epoch.
            weight_decay: coupled L2.
            recordable: whether steps will be recorded and replayed.
        """
        moved = [_moved(weight) for weight in weights]
        whole = [weight for weight, _ in moved]
        counts = [weight.new_zeros((), dtype=torch.float32) for weight in whole]
        moments = ([torch.zeros_like(weight) for weight in whole] for _ in range(2))
        rate = (
            torch.tensor(learning_rate, dtype=torch.float32, device=whole[0].device)
            if recordable
            else learning_rate
        )
        return cls(
            whole,
            [gradient for _, gradient in moved],
            dict(zip(_STATE, (*moments, counts), strict=True)),
            rate,
            weight_decay,
        )

    def step(self) -> None:
        """Change the weights by their gradients."""
        means, squares, counts = (self.state[name] for name in _STATE)
        torch._foreach_add_(counts, 1)
        torch._fused_adam_(
            self.weights,
            self.gradients,
            means,
            squares,
            [],
            counts,
            lr=self.learning_rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=self.weight_decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def load(self, saved: Sequence[Mapping[str, Tensor]], learning_rate: float) -> None:
        """Take the place of a saved group, in place; steps that were recorded stay good."""
        for name, own in self.state.items():
            for tensor, state in zip(own, saved, strict=True):
                value = state[name].flatten()
                # Earlier versions saved moments in the shapes of the weights.
                tensor.zero_().view(-1)[: value.numel()] = value
        if isinstance(self.learning_rate, Tensor):
            self.learning_rate.fill_(learning_rate)
        else:
            self.learning_rate = learning_rate


class Adam:
    """Adam with a learning rate for each group of weights.

    Everything it does is elementwise, and alike for every element, so a replica's step is the same
    to the bit whatever trains beside it. Gradients have their memory for good, to be zeroed for
    each step and not freed: to fault in the pages of a large embedding's gradient takes ten times
    as long as to zero them.

    Args:
        groups: of weights.
    """

    def __init__(self, groups: Sequence[AdamGroup]) -> None:
        self.groups = groups

    def zero_grad(self) -> None:
        """Forget the gradients."""
        torch._foreach_zero_([gradient for group in self.groups for gradient in group.gradients])

    @torch.no_grad()
    def step(self) -> None:
        """Change all weights by their gradients."""
        for group in self.groups:
            group.step()

    def decay_learning_rates(self, gamma: float) -> None:
        """Multiply every learning rate by ``gamma``, in place where it is a tensor."""
        for group in self.groups:
            group.learning_rate *= gamma

    def state(self) -> list[Tensor]:
        """All that a step changes but the weights."""
        return [tensor for group in self.groups for each in group.state.values() for tensor in each]

    def state_dict(self) -> dict[str, Any]:
        """What it goes on from, in the form of ``torch.optim.Adam``."""
        states = [
            dict(zip(_STATE, tensors, strict=True))
            for group in self.groups
            for tensors in zip(*(group.state[name] for name in _STATE), strict=True)
        ]
        return {
            "state": dict(enumerate(states)),
            "param_groups": [{"lr": float(group.learning_rate)} for group in self.groups],
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, whether steps of the one that saved it were recorded or not."""
        saved = [state["state"][number] for number in sorted(state["state"])]
        first = 0
        for group, other in zip(self.groups, state["param_groups"], strict=True):
            last = first + len(group.weights)
            group.load(saved[first:last], float(other["lr"]))
            first = last


def _moved(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Move a weight, and a gradient for it, to the start of whole registers.

    Behind the weight there are zeros with gradients of zero, which Adam leaves as they are.

    Returns:
        All of the registers, of the weight and of its gradient.
    """
    count = weight.numel()
    whole = weight.new_zeros(-(-count // _WHOLE) * _WHOLE)
    whole[:count] = weight.detach().flatten()
    gradient = torch.zeros_like(whole)
    weight.data, weight.grad = (each[:count].view_as(weight) for each in (whole, gradient))
    return whole.detach(), gradient
