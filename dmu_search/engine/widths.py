"""The width at which a network has as many weights as another one."""

from collections.abc import Callable

from dmu_search.engine.network import Architecture
from dmu_search.engine.settings import NetworkSettings

NetworkOf = Callable[[NetworkSettings], Architecture]


def matched_width(network_of: NetworkOf, *, model: str, depth: int, target: int) -> int:
    """The one width, used for every layer, that comes closest to a weight count.

    Args:
        network_of: a task's network for given settings.
        model: a key of ``dmu_search.engine.cells.MODELS``.
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
