"""Distributions of hyperparameters, in Hydra's grammar and with inclusive bounds."""

import math
from dataclasses import dataclass

from dmu_search.config.keys import Value


@dataclass(frozen=True)
class Interval:
    """Every number from ``low`` to ``high``, both included.

    Attributes:
        low: smallest value.
        high: largest value.
        log: whether orders of magnitude, not values, are equally likely.
        integer: whether only whole numbers count.
        step: distance of neighbours on a grid from ``low``; None for none.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    step: float | None = None

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        if not self.low <= value <= self.high or (self.integer and value != int(value)):
            return False
        return self.step is None or _on_grid(value - self.low, self.step)

    def __str__(self) -> str:
        low, high = _text(self.low), _text(self.high)
        if self.step is not None:
            return f"range({low},{high},{_text(self.step)})"
        inner = f"int(interval({low},{high}))" if self.integer else f"interval({low},{high})"
        return f"tag(log,{inner})" if self.log else inner


@dataclass(frozen=True)
class Choice:
    """One of several values, equally likely and without order."""

    values: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return any(value == option and type(value) is type(option) for option in self.values)

    def __str__(self) -> str:
        return f"choice({','.join(_text(value) for value in self.values)})"


Distribution = Interval | Choice


def _on_grid(distance: float, step: float) -> bool:
    # Decimal steps such as 0.1 have no exact binary form: half a billionth of a step is rounding.
    steps = distance / step
    return math.isfinite(steps) and abs(steps - round(steps)) < 5e-10 * max(1.0, abs(steps))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{value:.1f}"
    return str(value)
