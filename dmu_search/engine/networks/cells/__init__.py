"""The recurrent models, one file each; ``dmu_search.names.MODELS`` has a row for each."""

from dmu_search.engine.kernels.rows import State
from dmu_search.engine.networks.cells.base import Cell
from dmu_search.engine.settings import NetworkSettings
from dmu_search.errors import ConfigError
from dmu_search.names import MODELS, in_row

__all__ = ["Cell", "State", "recurrent_block"]


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
    build = in_row(MODELS[settings.model], __name__, attribute="build")
    cells: tuple[Cell, ...] = build(input_size, settings)
    return cells
