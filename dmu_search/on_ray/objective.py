"""One number for sampler and scheduler out of the results of all replicas of a trial."""

import math
import statistics
from collections.abc import Callable, Sequence

from dmu_search.names import Direction

# Results have to name a metric; the study compares them, not Tune.
OBJECTIVE = "objective"
# Of losses, which are infinite for a replica without a result.
_RULES: dict[str, Callable[[Sequence[float]], float]] = {
    "mean_over_replicas": statistics.fmean,
    "median_over_replicas": statistics.median,
    "worst_replica": max,
}


def objective_over_replicas(rule: str, best: Sequence[float], *, direction: Direction) -> float:
    """What a trial is worth by the best validation result of each of its replicas so far.

    A replica that diverges counts with its best epoch before that, the one whose weights are kept.
    A replica that never had a finite epoch counts as infinitely bad: mean and worst have no value
    then, the median has none if that is one of those in the middle.

    Args:
        rule: ``mean_over_replicas``, ``median_over_replicas`` or ``worst_replica``.
        best: of each replica, nan if it has none.
        direction: of the metric.

    Returns:
        In the metric's own unit; nan if there is no value.
    """
    sign = 1.0 if direction == "minimize" else -1.0
    losses = [math.inf if math.isnan(value) else sign * value for value in best]
    value = _RULES[rule](losses)
    return sign * value if math.isfinite(value) else math.nan
