"""A number with its confidence interval."""

from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value between the bounds of its 95% confidence interval."""

    value: float
    low: float
    high: float
