"""``network.widths`` as numbers: the paper's, matched, or the user's own."""

from dmu_search.config.keys import Value
from dmu_search.config.published import published
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks import NETWORKS
from dmu_search.engine.widths import matched_width
from dmu_search.errors import ConfigError


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
