"""What a search is tried on: a space, and the training of any setting of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from dmu_search.config.distributions import Distribution
from dmu_search.config.keys import Value


@dataclass(frozen=True)
class Training:
    """A whole training of one setting.

    Attributes:
        objectives: the best validation loss so far after each epoch; nan from the epoch on in which
            it diverged.
        seconds_per_epoch: of simulated time.
    """

    objectives: tuple[float, ...]
    seconds_per_epoch: float


class Run(Protocol):
    """One search's view of a problem."""

    def train(self, values: Mapping[str, Value]) -> Training | None:
        """The training of a setting; None once the problem has no further trainings to show."""


class Problem(Protocol):
    """A task of the benchmark; its loss is to be small.

    Attributes:
        name: of the task, as the CSV file has it.
        max_epochs: of a whole training.
        scale: on which losses are compared: as they are, or their orders of magnitude.
    """

    name: str
    max_epochs: int
    scale: Literal["linear", "log"]

    @property
    def space(self) -> Mapping[str, Distribution]:
        """What is searched."""

    def begin(self) -> Run:
        """A fresh start for one search."""

    def prior(self, quality: str) -> dict[str, Value]:
        """An expert's guess, ``good``, ``medium`` or ``bad``.

        Raises:
            ConfigError: the task has none.
        """

    def best_known(self) -> float:
        """The lowest loss that a long search has seen."""


def on_scale(loss: float, scale: Literal["linear", "log"]) -> float:
    """A loss as a regret is measured on it."""
    return math.log(loss) if scale == "log" else loss
