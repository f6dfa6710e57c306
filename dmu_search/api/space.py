"""Distributions of hyperparameters, as ``ds.tune(space={..})`` takes them; bounds are included."""

from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.keys import Value


def log(low: float, high: float) -> Interval:
    """Every number from ``low`` to ``high``, orders of magnitude alike; ``low`` must be > 0."""
    return Interval(low, high, log=True)


def interval(low: float, high: float) -> Interval:
    """Every number from ``low`` to ``high``; of a key of whole numbers, those alone."""
    return Interval(low, high)


def grid(low: float, high: float, *, step: float) -> Interval:
    """``low``, ``low + step`` and so on up to ``high``."""
    return Interval(low, high, step=step)


def choice(*values: Value) -> Choice:
    """One of several values, without order."""
    return Choice(values)
