"""Points that MLflow has of a run from before, so that none is written twice.

MLflow takes a point for another one when its time differs, and the time differs wherever a record
was written anew.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping

from dmu_search.records import Event


class KnownPoints:
    """The points of one run, fetched when they are first asked for.

    Args:
        history: name of a metric -> its steps and values.
        revised: whether a later value at a step replaces the one before, as in the summary of a
            study; else it is of another training.
    """

    def __init__(
        self, history: Callable[[str], Iterable[tuple[int, float]]], *, revised: bool = False
    ) -> None:
        self._history = history
        self._revised = revised
        self._fetched: dict[str, dict[int, list[float]]] = {}

    def have(self, event: Event) -> bool:
        """Whether the values of a ``metrics`` event are there."""
        found = self._compare(event)
        return bool(found) and all(found.values())

    def contradict(self, event: Event) -> bool:
        """Whether other values are there at an epoch: those of another training."""
        if self._revised:
            return False
        return event["step"] > 0 and any(same is False for same in self._compare(event).values())

    def _compare(self, event: Event) -> Mapping[str, bool | None]:
        """Name -> whether the value is among those at this step; None where there are none."""
        return {
            name: any(same_value(each, _as_stored(value)) for each in there) if there else None
            for name, value in event["values"].items()
            if is_telling(name)
            for there in [self._at(name, event["step"])]
        }

    def _at(self, name: str, step: int) -> list[float]:
        if name not in self._fetched:
            steps: dict[int, list[float]] = {}
            for each, value in self._history(name):
                steps.setdefault(each, []).append(value)
            self._fetched[name] = steps
        return self._fetched[name].get(step, [])


def is_telling(name: str) -> bool:
    """Whether a metric tells two events of a step apart.

    Durations differ where a training is repeated, a replica's values come with their mean, and what
    is best so far is said of the last epoch as well as of the run.
    """
    return not (name.endswith("_s") or "/" in name or name.startswith("best_"))


def _as_stored(value: float) -> float:
    """MLflow stores infinity as the largest number."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value


def same_value(one: float, other: float) -> bool:
    """Whether two values are the same but for their last digits; nan is itself."""
    return math.isclose(one, other, rel_tol=1e-12) or (math.isnan(one) and math.isnan(other))
