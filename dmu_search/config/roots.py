"""Where the configuration root ``search_spaces/`` lies, in a repository and when installed."""

from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

_PACKAGE = Path(__file__).resolve().parents[1]


def configuration_root() -> Path:
    """The folder ``search_spaces/``: beside the package in a repository, else inside it."""
    beside = _PACKAGE.parent / "search_spaces"
    return beside if (beside / "config.yaml").is_file() else _PACKAGE / "search_spaces"


def default_of(name: str) -> object:
    """The value of a key in ``config.yaml``; None where only tasks and models have it."""
    return OmegaConf.select(_defaults(), name)


def default_choice(group: str) -> str:
    """The task or the model of ``config.yaml``, which ``tune`` takes where none is named."""
    (chosen,) = (each[group] for each in _defaults()["defaults"] if group in each)
    return str(chosen)


@cache
def _defaults() -> DictConfig:
    tree = OmegaConf.load(configuration_root() / "config.yaml")
    assert isinstance(tree, DictConfig), "config.yaml holds keys and values"
    return tree
