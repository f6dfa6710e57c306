"""Whether a new training may be like recorded ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dmu_search.config.settings import RunSettings
from dmu_search.names import TASKS
from dmu_search.results.statistics import chance_of_next, prediction

# Chance that any of all comparisons fails although new trainings are like the recorded ones.
FALSE_ALARM = 0.01
# How far one training may lie from a single recorded one, whose scatter is unknown, relatively.
_FROM_ONE = 0.1


@dataclass(frozen=True)
class Agreement:
    """What a comparison of new trainings with recorded ones gave.

    Attributes:
        chance: that new ones are so far from the recorded ones or further, were all alike; None
            where one training is recorded, whose scatter is unknown.
        agrees: whether they may be alike.
    """

    chance: float | None
    agrees: bool


def agreement(
    known: Sequence[float], new: Sequence[float], *, run: RunSettings, comparisons: int
) -> Agreement:
    """Whether new results may be like the recorded ones.

    Args:
        known: results of recorded trainings.
        new: those of new ones.
        run: the setting; losses are compared by their logarithms.
        comparisons: that are made in all.
    """
    if len(known) > 1 and new:
        chance = chance_of_next(known, new, logarithms=is_loss(run))
        return Agreement(chance, chance >= FALSE_ALARM / comparisons)
    return Agreement(None, bool(known and new) and all(near(known[0], each) for each in new))


@dataclass(frozen=True)
class Foretold:
    """The interval that a further result lies in, were it like the known ones.

    Attributes:
        low: its lower bound.
        middle: of it.
        high: its upper bound.
        logarithms: whether distances are those of logarithms.
    """

    low: float
    middle: float
    high: float
    logarithms: bool

    def reaches(self, one: float, other: float) -> bool:
        """Whether two results are as near to each other as a bound is to the middle."""
        scale = math.log if self.logarithms else float
        half = scale(self.high) - scale(self.middle)
        return abs(scale(one) - scale(other)) <= half


def foretold(
    known: Sequence[float], *, run: RunSettings, confidence: float = 1 - FALSE_ALARM
) -> Foretold | None:
    """Where one more result lies, by Student's prediction; None below two known ones.

    Args:
        known: results of recorded trainings.
        run: the setting; losses are compared by their logarithms, where these exist.
        confidence: how often it lies there.
    """
    if len(known) < 2:
        return None
    logarithms = is_loss(run) and min(known) > 0
    scale, back = (math.log, math.exp) if logarithms else (float, float)
    middle, half = prediction([scale(each) for each in known], confidence)
    return Foretold(back(middle - half), back(middle), back(middle + half), logarithms)


def near(known: float, new: float) -> bool:
    """Whether a result is as near to a single recorded one as it has to be."""
    return abs(new - known) <= _FROM_ONE * abs(known)


def is_loss(run: RunSettings) -> bool:
    """Whether a small objective is good."""
    return TASKS[run.task].direction == "minimize"


def worst_if_diverged(run: RunSettings, value: float) -> float:
    """The value, or the worst there is where a training broke down."""
    if math.isnan(value):
        return math.inf if is_loss(run) else -math.inf
    return value
