"""The learning rates and weight decays that the parts of a network get, and clipping."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dmu_search.engine.networks.network import Architecture
from dmu_search.engine.settings import TrainingSettings
from dmu_search.engine.training.adam import Adam, AdamGroup
from dmu_search.errors import ConfigError

# Factor on the learning rate in dense layer i of the k of a DMU block: rule(settings, i, k).
BLOCK_LEARNING_RATE_RULES: dict[str, Callable[[TrainingSettings, int, int], float]] = {
    "paper": lambda _, layer, depth: 1.0 / (depth + 1 - layer),
    "released": lambda _, layer, depth: 1.0 / (2.0 * depth),
    "ratio": lambda settings, layer, depth: settings.block_learning_rate_ratio,
}

GRADIENT_CLIPPINGS = ("off", "norm")


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
) -> Adam:
    """Adam over the groups of ``parameter_groups``.

    Args:
        weights: of the network; they move to memory that the optimiser changes.
        network: names the groups.
        settings: learning rates and weight decays.
        recordable: whether steps will be recorded and replayed.
    """
    return Adam(
        [
            AdamGroup.of(
                [weights[name] for name in group.names],
                learning_rate=group.learning_rate,
                weight_decay=group.weight_decay,
                recordable=recordable,
            )
            for group in parameter_groups(network, settings)
        ]
    )


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
