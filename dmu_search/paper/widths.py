"""``network.widths`` as numbers: the paper's, matched, or the user's own."""

from collections.abc import Callable

from dmu_search.config.keys import Value
from dmu_search.engine.networks.network import Architecture
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks import NETWORKS
from dmu_search.errors import ConfigError
from dmu_search.paper.published import published

NetworkOf = Callable[[NetworkSettings], Architecture]


def resolve_widths(task: str, model: str, depth: int, rule: Value) -> tuple[tuple[int, ...], str]:
    """Widths, one per layer, and a note that says where they are from.

    Args:
        task: decides inputs, readout and the paper's network.
        model: the recurrent network.
        depth: number of layers.
        rule: ``auto``, ``paper``, ``matched`` or the widths themselves.

    Raises:
        ConfigError: the paper has no such network, or the list does not fit the network.
    """
    if isinstance(rule, tuple):
        return _own_widths(model, depth, rule), "widths as given"
    found = {
        source: widths[model][depth]
        for source, widths in published(task).widths.items()
        if depth in widths.get(model, {})
    }
    if rule == "paper" and "paper" not in found:
        other = "network.widths=auto for that of the release, " if "released" in found else ""
        raise ConfigError(
            f"network.widths=paper: the paper has no {model} of depth {depth} on {task}; "
            f"use {other}network.widths=matched or a list with one width per layer"
        )
    if rule != "matched":
        if "paper" in found:
            return found["paper"], "widths from the paper"
        if "released" in found:
            return found["released"], "widths from the release; the paper has no such network"
    return _matched(task, model, depth)


def weight_count(task: str, model: str, widths: tuple[int, ...]) -> int:
    """Trainable numbers of one replica of the network."""
    return NETWORKS[task](NetworkSettings(model, widths)).weight_count


def _own_widths(model: str, depth: int, widths: tuple[int, ...]) -> tuple[int, ...]:
    if len(widths) != depth:
        raise ConfigError(
            f"network.widths: needs one width per layer, {depth} at depth={depth}, "
            f"got {list(widths)}; change the list or depth"
        )
    if model == "rhn" and len(set(widths)) > 1:
        raise ConfigError(
            f"network.widths: the layers of an RHN share one state, so one width, "
            f"got {list(widths)}"
        )
    return widths


def _matched(task: str, model: str, depth: int) -> tuple[tuple[int, ...], str]:
    network_of = NETWORKS[task]
    reference = published(task).matched_to
    target = weight_count(task, reference.model, reference.at(depth))
    matched = matched_width(network_of, model=model, depth=depth, target=target)
    own = weight_count(task, model, (matched,) * depth)
    name = reference.model.upper()
    note = f"widths matched to the paper's {name}: {own} weights beside its {target}"
    return (matched,) * depth, note


def matched_width(network_of: NetworkOf, *, model: str, depth: int, target: int) -> int:
    """The one width, used for every layer, that comes closest to a weight count.

    Args:
        network_of: a task's network for given settings.
        model: a key of ``dmu_search.engine.networks.cells.MODELS``.
        depth: number of layers.
        target: weight count to come close to, such as that of the paper's RHN.

    Returns:
        The width; the smaller of two that are equally close.
    """

    def count(width: int) -> int:
        return network_of(NetworkSettings(model, (width,) * depth)).weight_count

    above = 1
    while count(above) < target:
        above *= 2
    below = max(above // 2, 1)
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if count(middle) < target else (below, middle)
    return min((below, above), key=lambda width: abs(count(width) - target))
