"""The lowest loss of each LCBench task that a long search of the surrogate finds.

python benchmarks/best_known.py --lcbench DIR [--random 5000] [--rounds 40]

Random settings, then rounds of 300 neighbours of the best 40, which come nearer with every round.
Writes benchmarks/simulation/best_known.json, where lower values of an earlier search stay.
"""

import argparse
import json
import math
import os
import sys
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numpy as np
from numpy.typing import NDArray
from simulation.lcbench import BEST_KNOWN, Surrogate

from dmu_search.config.distributions import Interval

NEIGHBOURS, PARENTS = 300, 40
# Settings whose curves are predicted at a time.
CHUNK = 500


def main() -> int:
    """Search all tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lcbench", type=Path, required=True, metavar="DIR")
    parser.add_argument("--random", type=int, default=5_000, help="settings drawn at random")
    parser.add_argument("--rounds", type=int, default=40, help="of neighbours")
    words = parser.parse_args()
    surrogate = Surrogate(words.lcbench)
    known = json.loads(BEST_KNOWN.read_text()) if BEST_KNOWN.exists() else {}
    for task in sorted(surrogate.tasks, key=int):
        found = search(surrogate, task, random=words.random, rounds=words.rounds)
        known[task] = min(found, known.get(task, math.inf))
        print(f"{task}: {known[task]:.6g}", flush=True)
        BEST_KNOWN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    return 0


def search(surrogate: Surrogate, task: str, *, random: int, rounds: int) -> float:
    """The lowest loss found in one task."""
    rng = np.random.default_rng(0)
    points = rng.random((random, len(surrogate.space)))
    losses = evaluate(surrogate, task, points)
    for turn in range(rounds):
        best = np.argsort(losses)[:PARENTS]
        points, losses = points[best], losses[best]
        parents = points[rng.integers(len(points), size=NEIGHBOURS)]
        spread = 0.2 * 0.88**turn
        # Half of the coordinates move, so that good ones can stay.
        moves = rng.normal(0, spread, parents.shape) * (rng.random(parents.shape) < 0.5)
        children = np.clip(parents + moves, 0, 1)
        points = np.concatenate([points, children])
        losses = np.concatenate([losses, evaluate(surrogate, task, children)])
    return float(losses.min())


def evaluate(surrogate: Surrogate, task: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lowest loss at any epoch of settings in the unit cube, ``(setting,)``."""
    chunks = []
    for start in range(0, len(points), CHUNK):
        settings = [
            {
                name: value_at(share, interval)
                for share, (name, interval) in zip(point, surrogate.space.items(), strict=True)
            }
            for point in points[start : start + CHUNK]
        ]
        chunks.append(surrogate.predict(task, settings)[0].min(axis=1))
    return np.concatenate(chunks)


def value_at(share: float, interval: Interval) -> float:
    """The value at a share of an interval's own scale."""
    low, high = interval.low, interval.high
    value = (
        low * math.exp(share * math.log(high / low)) if interval.log else low + share * (high - low)
    )
    value = min(max(value, low), high)
    return round(value) if interval.integer else value


if __name__ == "__main__":
    sys.exit(main())
