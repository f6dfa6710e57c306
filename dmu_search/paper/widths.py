"""``network.widths`` as numbers: the paper's, matched, or the user's own."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from dmu_search.config.keys import Value
from dmu_search.engine.settings import NetworkSettings
from dmu_search.errors import ConfigError
from dmu_search.paper.published import published

if TYPE_CHECKING:
    from dmu_search.engine.networks.network import Architecture

# PyTorch takes seconds to import, and the paper's own widths can be looked up without it: what
# makes networks is imported where one is made.
NetworkOf = Callable[[NetworkSettings], "Architecture"]

# Units of each layer on a task that the paper does not have, unless the user says otherwise.
DEFAULT_WIDTH = 100


def resolve_widths(
    task: str, model: str, *, depth: int, rule: Value
) -> tuple[tuple[int, ...], str]:
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
        return _own_widths(model, depth, widths=rule), "widths as given"
    if not published(task).in_paper:
        return _default_widths(task, depth, rule=rule)
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
    return _matched(task, model, depth=depth)


def paper_network(task: str) -> NetworkOf:
    """What makes the networks of the paper's tables on a task that the paper has.

    Those that are trained may differ: they fit the vocabularies of their own data.
    """
    from dmu_search.engine.networks.translator import Vocabulary, build_translator
    from dmu_search.engine.tasks import task_class

    vocabulary = published(task).vocabulary
    if vocabulary is not None:
        return partial(build_translator, vocabulary=Vocabulary(*vocabulary))
    # The other tasks of the paper need no data to know their inputs and outputs.
    of_class: NetworkOf = cast(Any, task_class(task)).network
    return of_class


def weight_count(task: str, model: str, *, widths: tuple[int, ...]) -> int:
    """Trainable numbers of one replica of the paper's network."""
    return paper_network(task)(NetworkSettings(model, widths)).weight_count


def _own_widths(model: str, depth: int, *, widths: tuple[int, ...]) -> tuple[int, ...]:
    if len(widths) != depth:
        raise ConfigError(
            f"network.widths: needs one width per layer, {depth} at depth={depth}, "
            f"got {list(widths)}; change the list or depth"
        )
    from dmu_search.engine.networks.cells import recurrent_block

    recurrent_block(1, NetworkSettings(model, widths))  # refuses those that do not fit the model
    return widths


def _default_widths(task: str, depth: int, *, rule: Value) -> tuple[tuple[int, ...], str]:
    why = f"the paper has no networks on {task}"
    if rule != "auto":
        raise ConfigError(
            f"network.widths={rule}: {why}; use network.widths=auto for {DEFAULT_WIDTH} per layer, "
            "or a list with one width per layer"
        )
    note = f"widths of {DEFAULT_WIDTH} per layer: {why}; network.widths=[..] takes others"
    return (DEFAULT_WIDTH,) * depth, note


def _matched(task: str, model: str, *, depth: int) -> tuple[tuple[int, ...], str]:
    reference = published(task).matched_to
    assert reference is not None, f"{task} is in the paper"
    target = weight_count(task, reference.model, widths=reference.at(depth))
    matched = matched_width(paper_network(task), model=model, depth=depth, target=target)
    own = weight_count(task, model, widths=(matched,) * depth)
    name = reference.model.upper()
    note = f"widths matched to the paper's {name}: {own} weights beside its {target}"
    return (matched,) * depth, note


def matched_width(network_of: NetworkOf, *, model: str, depth: int, target: int) -> int:
    """The one width, used for every layer, that comes closest to a weight count.

    Args:
        network_of: a task's network for given settings.
        model: a key of ``dmu_search.names.MODELS``.
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
