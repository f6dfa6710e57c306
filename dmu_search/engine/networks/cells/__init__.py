"""The recurrent models, one file each."""

from collections.abc import Callable

from dmu_search.engine.kernels.rows import State
from dmu_search.engine.networks.cells.base import Cell
from dmu_search.engine.networks.cells.dmu import dmu
from dmu_search.engine.networks.cells.gru import gru
from dmu_search.engine.networks.cells.lstm import lstm
from dmu_search.engine.networks.cells.rhn import rhn
from dmu_search.engine.networks.cells.rnn import rnn
from dmu_search.engine.settings import NetworkSettings
from dmu_search.errors import ConfigError

__all__ = ["MODELS", "Cell", "State", "recurrent_block"]

MODELS: dict[str, Callable[[int, NetworkSettings], tuple[Cell, ...]]] = {
    "dmu": dmu,
    "rhn": rhn,
    "lstm": lstm,
    "gru": gru,
    "rnn": rnn,
}


def recurrent_block(input_size: int, settings: NetworkSettings) -> tuple[Cell, ...]:
    """The cells of a model, each reading the states of the one before.

    Args:
        input_size: width of the inputs of the first.
        settings: model and widths.

    Raises:
        ConfigError: if there is no such model, or none of its kind with such widths.
    """
    if settings.model not in MODELS:
        raise ConfigError(
            f"network.model: must be one of {', '.join(MODELS)}, got {settings.model!r}"
        )
    if not settings.widths or min(settings.widths) < 1:
        raise ConfigError(
            f"network.widths: must be one positive width per layer, got {settings.widths}"
        )
    return MODELS[settings.model](input_size, settings)
