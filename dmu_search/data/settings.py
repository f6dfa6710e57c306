"""Which data a task is made over."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataSettings:
    """Which data, and where it is looked for; see the keys ``data.*``.

    Those that the task does not have keep their defaults, which nothing reads.
    """

    corpus: str = "nottingham"
    root: Path | None = None
    mirror: Path | None = None
    limit: int | None = None
    step: str = "1/8"
    transpose: bool = False
    length: int = 100
    batches_per_epoch: int = 200
    noise: str = "fresh"
    pairs: int | str = "all"
    pairs_file: str | None = None
