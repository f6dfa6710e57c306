"""A search space as the unit cube: one coordinate a key, in the key's own scale."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats.qmc import Sobol

from dmu_search.config.distributions import Choice, Distribution, Interval
from dmu_search.config.keys import KEYS, Value
from dmu_search.study.gaussian_process import Floats


def condition_of(name: str) -> tuple[str, Value] | None:
    """The key, and its value, that ``name`` depends on; None where it always applies."""
    return KEYS[name].only_if if name in KEYS else None


def in_order(names: Sequence[str] | Mapping[str, Distribution]) -> list[str]:
    """Keys by name, conditional ones last: what they depend on is then known."""
    return sorted(names, key=lambda name: (condition_of(name) is not None, name))


class Axis(Protocol):
    """One key's coordinate ``u`` in [0, 1]."""

    def snapped(self, u: Floats) -> Floats:
        """The nearest coordinates that a value has; shape kept."""

    def features(self, u: Floats) -> Floats:
        """What a model sees of snapped coordinates ``(n,)``: ``(n, features)``."""

    def value(self, u: float) -> Value:
        """The value at a coordinate."""

    def coordinate(self, value: Value) -> float:
        """The coordinate of a value."""


@dataclass(frozen=True)
class _Numbers:
    """An interval; a whole number or a step of a grid owns the same share as its neighbours."""

    interval: Interval

    @cached_property
    def _step(self) -> float:
        return self.interval.step or (1.0 if self.interval.integer else 0.0)

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        half = self._step / 2
        # A grid's last point may lie below the interval's end.
        steps = (
            math.floor((self.interval.high - self.interval.low) / self._step + 1e-9) if half else 0
        )
        high = self.interval.low + steps * self._step if half else self.interval.high
        low, high = self.interval.low - half, high + half
        return (math.log(low), math.log(high)) if self.interval.log else (low, high)

    def _numbers(self, u: Floats) -> Floats:
        low, high = self._bounds
        inner = low + u * (high - low)
        numbers = np.exp(inner) if self.interval.log else inner
        if self._step:
            steps = np.rint((numbers - self.interval.low) / self._step)
            numbers = self.interval.low + np.maximum(steps, 0) * self._step
        return np.clip(numbers, self.interval.low, self.interval.high)

    def snapped(self, u: Floats) -> Floats:
        return self._coordinates(self._numbers(u)) if self._step else u

    def _coordinates(self, numbers: Floats) -> Floats:
        low, high = self._bounds
        inner = np.log(numbers) if self.interval.log else numbers
        return np.clip((inner - low) / (high - low if high > low else 1.0), 0.0, 1.0)

    def features(self, u: Floats) -> Floats:
        return u[:, None]

    def value(self, u: float) -> Value:
        number = float(self._numbers(np.array([u]))[0])
        return round(number) if self.interval.integer else number

    def coordinate(self, value: Value) -> float:
        assert isinstance(value, int | float)
        return float(self._coordinates(np.array([float(value)]))[0])


@dataclass(frozen=True)
class _Options:
    """Some values: numbers in ascending order, each other one a direction of its own."""

    options: tuple[Value, ...]

    @classmethod
    def of(cls, values: Sequence[Value]) -> "_Options":
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        return cls(tuple(sorted(values) if numbers else values))  # type: ignore[type-var]

    @property
    def _ordered(self) -> bool:
        first = self.options[0]
        return len(self.options) == 2 or (
            isinstance(first, int | float) and not isinstance(first, bool)
        )

    def _index(self, u: Floats) -> NDArray[np.int64]:
        count = len(self.options)
        return np.minimum((u * count).astype(np.int64), count - 1)

    def snapped(self, u: Floats) -> Floats:
        return (self._index(u) + 0.5) / len(self.options)

    def features(self, u: Floats) -> Floats:
        index = self._index(u)
        if self._ordered:
            return index[:, None] / max(1, len(self.options) - 1)
        # Two different options are at distance one.
        return np.eye(len(self.options))[index] / math.sqrt(2)

    def value(self, u: float) -> Value:
        return self.options[int(self._index(np.array([u]))[0])]

    def coordinate(self, value: Value) -> float:
        index = [type(v) is type(value) and v == value for v in self.options].index(True)
        return (index + 0.5) / len(self.options)


class UnitCube:
    """Settings of a search space as points ``(keys,)``, each coordinate in [0, 1].

    A coordinate of a key that does not apply is 0.5, so that such settings are one point.

    Args:
        space: what is searched.

    Attributes:
        keys: of the coordinates, in order.
    """

    def __init__(self, space: Mapping[str, Distribution]) -> None:
        self.keys = tuple(in_order(space))
        self._axes = [_axis(space[name]) for name in self.keys]
        # A study asks for the points of all its trials at every decision.
        self._points: dict[tuple[tuple[str, Value], ...], Floats] = {}

    def even_point(self, number: int, *, seed: int) -> Floats:
        """The point ``(keys,)`` of that number in Sobol's sequence, scrambled by a seed."""
        if not self.keys:
            return np.zeros(0)
        sequence = Sobol(len(self.keys), scramble=True, rng=seed)
        if number:  # SciPy's takes no step of 0.
            sequence.fast_forward(number)
        drawn: Floats = sequence.random(1)
        point: Floats = self.snapped(drawn)[0]
        return point

    def snapped(self, points: Floats) -> Floats:
        """The nearest points that are settings: ``(n, keys)`` both."""
        out = np.column_stack([axis.snapped(points[:, i]) for i, axis in enumerate(self._axes)])
        for i, name in enumerate(self.keys):
            condition = condition_of(name)
            if condition is None or condition[0] not in self.keys:
                continue
            other = self.keys.index(condition[0])
            wanted = self._axes[other].coordinate(condition[1])
            out[np.abs(out[:, other] - wanted) > 1e-9, i] = 0.5
        return out

    def features(self, points: Floats) -> Floats:
        """What a model sees of snapped points ``(n, keys)``: ``(n, features)``."""
        return np.hstack([axis.features(points[:, i]) for i, axis in enumerate(self._axes)])

    def values(self, point: Floats) -> dict[str, Value]:
        """The setting at a point ``(keys,)``, without keys that do not apply."""
        values: dict[str, Value] = {}
        for name, axis, u in zip(self.keys, self._axes, point, strict=True):
            condition = condition_of(name)
            if condition is None or values.get(condition[0], condition[1]) == condition[1]:
                values[name] = axis.value(float(u))
        return values

    def point(self, values: Mapping[str, Value]) -> Floats:
        """The point ``(keys,)`` of a setting; nobody may write to it."""
        said = tuple(values.items())
        if said not in self._points:
            self._points[said] = np.array(
                [
                    axis.coordinate(values[name]) if name in values else 0.5
                    for name, axis in zip(self.keys, self._axes, strict=True)
                ]
            )
            self._points[said].setflags(write=False)
        return self._points[said]

    def guesses(self, settings: Sequence[Mapping[str, Value]]) -> Floats:
        """Points ``(n, keys)`` of settings that need not be whole: nan where one says nothing."""
        points = [
            [
                axis.coordinate(values[name]) if name in values else math.nan
                for name, axis in zip(self.keys, self._axes, strict=True)
            ]
            for values in settings
        ]
        return np.array(points).reshape(len(settings), len(self.keys))

    @staticmethod
    def filled(guesses: Floats) -> Floats:
        """Guesses ``(n, keys)`` with the middle of each key that they say nothing of."""
        return np.where(np.isnan(guesses), 0.5, guesses)


def _axis(distribution: Distribution) -> Axis:
    if isinstance(distribution, Choice):
        return _Options.of(distribution.values)
    return _Numbers(distribution)
