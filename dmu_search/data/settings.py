"""Which data a task is made over."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmu_search.errors import ConfigError


@dataclass(frozen=True)
class DataSettings:
    """Which data, and where it is looked for; see the keys ``data.*``.

    None is a value of ``root``, ``mirror``, ``limit`` and ``pairs_file``; else the task does not
    have the key. ``whole_chunks`` is False in records from before it was one. The defaults of a
    search stand in ``search_spaces/``.
    """

    corpus: str | None = None
    root: Path | None = None
    mirror: Path | None = None
    limit: int | None = None
    step: str | None = None
    transpose: bool | None = None
    length: int | None = None
    batches_per_epoch: int | None = None
    noise: str | None = None
    pairs: int | str | None = None
    pairs_file: str | None = None
    whole_chunks: bool = False

    def needed(self, name: str) -> Any:
        """A value that the task's data cannot be made without.

        Raises:
            ConfigError: it is missing.
        """
        value = getattr(self, name)
        if value is None:
            raise ConfigError(f"data.{name}: is missing; give it a value")
        return value
