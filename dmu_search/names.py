"""The tables of tasks and models: one row each, without what they compute.

Help and keys read them, so nothing here imports torch: what a row names is imported at its use.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, cast

from dmu_search.errors import ConfigError

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class TaskEntry:
    """The row of a task.

    Attributes:
        engine: module of ``dmu_search.engine.tasks`` whose ``TASK`` learns it; of a user's own
            task object its class.
        data: module of ``dmu_search.data`` whose ``load`` gives its data; or that function.
        direction: whether a small or a large objective is good.
        files: what it reads of that module's ``FILES``.
        writes: module of ``dmu_search.generation`` by which a trained network writes; None: none.
    """

    engine: str | type
    data: str | Callable[..., Any]
    direction: Direction
    files: tuple[str, ...] = ()
    writes: str | None = None


TASKS: dict[str, TaskEntry] = {
    "adding": TaskEntry("adding", data="generated", direction="minimize"),
    "tempord": TaskEntry("tempord", data="generated", direction="minimize"),
    "noiseseq": TaskEntry("noiseseq", data="generated", direction="minimize"),
    "polymusic": TaskEntry(
        "polymusic",
        data="corpus",
        direction="minimize",
        files=("nottingham", "nottingham-midi"),
        writes="music",
    ),
    "natlang": TaskEntry(
        "natlang",
        data="treebank",
        direction="minimize",
        files=("ptb-train", "ptb-valid", "ptb-test"),
        writes="text",
    ),
    "spa2eng": TaskEntry(
        "translation",
        data="pairs",
        direction="maximize",
        files=("spa-eng",),
        writes="translation",
    ),
    "por2eng": TaskEntry(
        "translation",
        data="pairs",
        direction="maximize",
        files=("por-eng",),
        writes="translation",
    ),
    "ger2eng": TaskEntry(
        "translation",
        data="pairs",
        direction="maximize",
        files=("deu-eng",),
        writes="translation",
    ),
}

# Module of `dmu_search.engine.networks.cells` whose `build` makes the layers of each model; of a
# user's own cell that function.
MODELS: dict[str, str | Callable[..., Any]] = {
    "dmu": "dmu",
    "rhn": "rhn",
    "lstm": "lstm",
    "gru": "gru",
    "rnn": "rnn",
}


# Rows of this process alone, by table.
_OWN: dict[str, dict[str, Any]] = {"tasks": {}, "models": {}}


def install(
    *, tasks: Mapping[str, TaskEntry] | None = None, models: Mapping[str, Any] | None = None
) -> None:
    """Add rows of a user's own tasks and models, in this process; a row of the same name goes."""
    for rows, table in ((tasks or {}, TASKS), (models or {}, MODELS)):
        cast(dict[str, Any], table).update(rows)
    _OWN["tasks"].update(tasks or {})
    _OWN["models"].update(models or {})


def own_rows() -> dict[str, dict[str, Any]]:
    """What ``install`` was given, for another process."""
    return {table: dict(rows) for table, rows in _OWN.items()}


def is_own(name: str) -> bool:
    """Whether a task or model is a user's own, of this process alone."""
    return any(name in rows for rows in _OWN.values())


def in_row(value: Any, package: str, *, attribute: str) -> Any:
    """What a row stands for: itself, or what its module in ``package`` defines.

    Raises:
        ConfigError: as ``named_in_row``.
    """
    return named_in_row(f"{package}.{value}", attribute) if isinstance(value, str) else value


def named_in_row(module: str, attribute: str) -> Any:
    """What a row names, imported only now.

    Args:
        module: its dotted name.
        attribute: what the module is to define.

    Raises:
        ConfigError: there is no such module, or it does not define that.
    """
    try:
        return getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as fault:
        if getattr(fault, "name", None) not in (module, attribute):
            raise  # a fault inside the module
        path = f"{module.replace('.', '/')}.py"
        raise ConfigError(
            f"{path}: must define {attribute}, because a row of dmu_search/names.py names the file"
        ) from None


def signed_loss(value: float, direction: Direction) -> float:
    """A number that is the smaller the better the objective's ``value`` is."""
    # Not `-value`: an accuracy of 0.0 would be shown as -0.0.
    return value if direction == "minimize" else 0.0 - value
