"""Where the configuration root ``search_spaces/`` lies, in a repository and when installed."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def configuration_root() -> Path:
    """The folder ``search_spaces/``: beside the package in a repository, else inside it."""
    beside = _PACKAGE.parent / "search_spaces"
    return beside if (beside / "config.yaml").is_file() else _PACKAGE / "search_spaces"
