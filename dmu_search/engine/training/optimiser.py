"""Adam with the learning rates and weight decays that the parts of a network get."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dmu_search.engine.networks.network import Architecture
from dmu_search.engine.settings import TrainingSettings
from dmu_search.errors import ConfigError

# Factor on the learning rate in dense layer i of the k of a DMU block: rule(settings, i, k).
BLOCK_LEARNING_RATE_RULES: dict[str, Callable[[TrainingSettings, int, int], float]] = {
    "paper": lambda _, layer, depth: 1.0 / (depth + 1 - layer),
    "released": lambda _, layer, depth: 1.0 / (2.0 * depth),
    "ratio": lambda settings, layer, depth: settings.block_learning_rate_ratio,
}

GRADIENT_CLIPPINGS = ("off", "norm")

# Adam's kernel rounds otherwise in vector registers than in the loop over what is left behind the
# last full one, so weights lie in memory of whole registers. This is a multiple of any's length.
_WHOLE = 64


@dataclass(frozen=True)
class ParameterGroup:
    """Weights that share a learning rate.

    Attributes:
        names: of the weights.
        learning_rate: of the first epoch.
        weight_decay: coupled L2.
    """

    names: tuple[str, ...]
    learning_rate: float
    weight_decay: float


def parameter_groups(
    network: Architecture, settings: TrainingSettings
) -> tuple[ParameterGroup, ...]:
    """Learning rate and weight decay of every weight.

    The dense layers of a DMU block follow ``settings.block_learning_rate_rule``; all else, other
    models included, has the plain values.

    Returns:
        The dense layers in order (none for other models), then everything else.

    Raises:
        ConfigError: if there is no such rule.
    """
    rule = BLOCK_LEARNING_RATE_RULES.get(settings.block_learning_rate_rule)
    if rule is None:
        raise ConfigError(
            "training.block_learning_rate_rule: must be one of "
            f"{', '.join(BLOCK_LEARNING_RATE_RULES)}, got {settings.block_learning_rate_rule!r}"
        )
    layers = network.dense_layers
    depth = max(layers.values(), default=0)
    groups = []
    for layer in range(1, depth + 1):
        ratio = rule(settings, layer, depth)
        decay_ratio = ratio if settings.scale_block_weight_decay else 1.0
        names = tuple(name for name in layers if layers[name] == layer)
        groups.append(
            ParameterGroup(
                names, settings.learning_rate * ratio, settings.weight_decay * decay_ratio
            )
        )
    rest = tuple(name for name in network.shapes if name not in layers)
    groups.append(ParameterGroup(rest, settings.learning_rate, settings.weight_decay))
    return tuple(groups)


def adam(
    weights: Mapping[str, Tensor],
    network: Architecture,
    *,
    settings: TrainingSettings,
    recordable: bool = False,
) -> torch.optim.Adam:
    """Adam over the groups of ``parameter_groups``.

    Everything it does is elementwise, and alike for every element, so a replica's step is the same
    to the bit whatever trains beside it. Gradients get their memory here, to be zeroed for each
    step and not freed: to fault in the pages of a large embedding's gradient takes ten times as
    long as to zero them.

    Args:
        weights: of the network; they move to memory that the optimiser changes.
        network: names the groups.
        settings: learning rates and weight decays.
        recordable: whether steps will be recorded and replayed: learning rates are then tensors
            beside the weights, so that a replayed step sees them change. They are in single
            precision, all that PyTorch's kernel reads.
    """
    whole = {name: _moved(weight) for name, weight in weights.items()}
    device = next(iter(weights.values())).device

    def rate(value: float) -> Tensor | float:
        return torch.tensor(value, dtype=torch.float32, device=device) if recordable else value

    groups = [
        {
            "params": [whole[name] for name in group.names],
            "lr": rate(group.learning_rate),
            "weight_decay": group.weight_decay,
        }
        for group in parameter_groups(network, settings)
    ]
    return torch.optim.Adam(groups, fused=True, capturable=recordable)


def _moved(weight: Tensor) -> Tensor:
    """Move a weight, and a gradient for it, to the start of whole registers; returns all of them.

    Behind the weight there are zeros with gradients of zero, which Adam leaves as they are.
    """
    count = weight.numel()
    whole = weight.new_zeros(-(-count // _WHOLE) * _WHOLE)
    whole[:count] = weight.detach().flatten()
    gradient = torch.zeros_like(whole)
    weight.data, weight.grad = (each[:count].view_as(weight) for each in (whole, gradient))
    whole = whole.detach().requires_grad_()
    whole.grad = gradient
    return whole


def restore(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a state, whether it was saved by a recordable optimiser or not.

    The optimiser keeps its kind. What it held before is replaced, so recorded steps of it are void.
    A state in the shapes of the weights, as earlier versions saved it, is as good.
    """
    own = [(group["lr"], group["capturable"]) for group in optimiser.param_groups]
    optimiser.load_state_dict(dict(state))
    for group, (rate, recordable) in zip(optimiser.param_groups, own, strict=True):
        saved = float(group["lr"])
        group["lr"] = rate.fill_(saved) if isinstance(rate, Tensor) else saved
        group["capturable"] = recordable
    for parameter, moments in optimiser.state.items():
        for name, moment in moments.items():
            if moment.numel() not in (1, parameter.numel()):
                moments[name] = torch.zeros_like(parameter)
                moments[name][: moment.numel()] = moment.flatten()


def clip_gradients(weights: Mapping[str, Tensor], largest_norm: float) -> None:
    """Scale each replica's gradient down to ``largest_norm`` where its norm is larger.

    ``g * min(1, largest_norm / (|g| + 1e-6))`` with the Euclidean norm over all weights of the
    replica, as ``torch.nn.utils.clip_grad_norm_`` does for one network. A gradient that is short
    enough is not changed by a bit. A replica's norm is the same to the bit whatever trains beside
    it: sums run along rows, one per replica, for a sum over columns depends on their number.

    Args:
        weights: ``(replica, ..)`` each, with their gradients.
        largest_norm: > 0.
    """
    gradients = [weight.grad for weight in weights.values() if weight.grad is not None]
    norms = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients]
    norm = torch.linalg.vector_norm(torch.stack(norms, dim=1), dim=1)
    factor = (largest_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.reshape(-1, *[1] * (gradient.ndim - 1)))


def decay_learning_rates(optimiser: torch.optim.Optimizer, gamma: float) -> None:
    """Multiply every learning rate by ``gamma``, in place where it is a tensor."""
    for group in optimiser.param_groups:
        group["lr"] *= gamma
