"""How well the screen of `tune` knows the time left: see docs/search.md, "Time left".

python benchmarks/time_left.py [--lcbench DIR] [--seeds 2]

Simulates studies of the product's default search on our table and, where DIR is given, on six tasks
of LCBench. After each epoch from a tenth of a study on, the epochs that the screen would say are
left are compared with those that were.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# One thread everywhere, also in libraries that look before torch can tell them.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numpy as np
from finalists import Answers
from simulation.cluster import Cluster, Job
from simulation.contenders import ProductSearch, Setup, product
from simulation.lcbench import LCBench, Surrogate
from simulation.problems import Run
from simulation.recordings import RECORDINGS
from simulation.tables import Table

from dmu_search.study.remaining import Progress, epochs_left
from dmu_search.study.search_study import SearchStudy

_LCBENCH = ("126026", "167190", "168330", "189906", "7593", "189873")
# Workers and trials of the studies on LCBench.
_SHAPES = ((1, 20), (2, 50), (4, 100))


class Watched:
    """A study that notes after each epoch what the screen would say.

    Args:
        study: at its start.
        trials: of it.
        max_epochs: of a whole training.

    Attributes:
        said: epochs left, after each epoch.
    """

    def __init__(self, study: SearchStudy, *, trials: int, max_epochs: int) -> None:
        self.study, self._search = study, ProductSearch(study)
        self._trials, self._max_epochs = trials, max_epochs
        self.said: list[float] = []

    def next(self) -> Job | None:
        """As the study's."""
        return self._search.next()

    def report(self, number: int, loss: float, *, epoch: int, finished: bool) -> bool:
        """As the study's."""
        goes_on = self._search.report(number, loss, epoch=epoch, finished=finished)
        begun = self.study.trials.values()
        self.said.append(
            epochs_left(
                (Progress(each.epoch, each.status, each.source is not None) for each in begun),
                in_all=self._trials,
                max_epochs=self._max_epochs,
                scheduler="promotion",
            )
        )
        return goes_on


@dataclass(frozen=True)
class Simulated:
    """A study and where it runs."""

    name: str
    study: Watched
    run: Run
    max_epochs: int
    workers: int

    def ratios(self) -> list[tuple[float, float]]:
        """Share of the study that is over, and epochs said to be left over those that are."""
        cluster = Cluster(self.study, self.run, max_epochs=self.max_epochs, workers=self.workers)
        epochs = cluster.carry_out(10**9).epochs
        assert self.study.study.over, f"{self.name}: a part of the table is too small"
        return [
            (done / epochs, said / (epochs - done))
            for done, said in enumerate(self.study.said[:-1], start=1)
        ]


def on_table(seeds: int) -> Iterator[Simulated]:
    """The default study on each part, by two and by four workers."""
    for name, recording in RECORDINGS.items():
        for seed in range(seeds):
            for workers in (2, 4):
                table = Table(f"{name}@{seed}" if recording.seeds > 1 else name)
                own = recording.study
                settings = replace(
                    own,
                    fixed={**own.fixed, "training.replicas": 1},
                    search=replace(own.search, seed=seed),
                )
                study = Watched(
                    SearchStudy.of(settings),
                    trials=settings.search.trials,
                    max_epochs=table.max_epochs,
                )
                yield Simulated(name, study, Answers(table), table.max_epochs, workers)


def on_lcbench(folder: Path, seeds: int) -> Iterator[Simulated]:
    """Studies of several sizes on a few tasks."""
    surrogate = Surrogate(folder)
    for task in _LCBENCH:
        for seed in range(seeds):
            for workers, trials in _SHAPES:
                problem = LCBench(surrogate, task)
                search = product(Setup(problem, seed, trials), "auto", scheduler="promotion")
                study = Watched(search.study, trials=trials, max_epochs=problem.max_epochs)
                name = f"lcbench {trials} trials"
                yield Simulated(name, study, problem.begin(), problem.max_epochs, workers)


def summary(name: str, ratios: Sequence[tuple[float, float]]) -> str:
    """A line of the table: median, and how often it is right within a factor of two."""
    values = np.array([ratio for over, ratio in ratios if 0.1 <= over <= 0.99])
    within = np.mean((values >= 0.5) & (values <= 2))
    low, high = np.quantile(values, (0.05, 0.95))
    return f"{name:20} {np.median(values):6.2f} {low:6.2f} to {high:5.2f} {100 * within:8.0f} %"


def main() -> int:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lcbench", type=Path, help="folder of the benchmark")
    parser.add_argument("--seeds", type=int, default=2, help="of each study")
    words = parser.parse_args()
    studies = list(on_table(words.seeds))
    if words.lcbench:
        studies += on_lcbench(words.lcbench, words.seeds)
    by_name: dict[str, list[tuple[float, float]]] = {}
    print(f"{'studies':20} said over true: median, 5 to 95 %, within a factor of two")
    for each in studies:
        by_name.setdefault(each.name, []).extend(each.ratios())
    for name, ratios in by_name.items():
        print(summary(name, ratios))
    everything = [each for ratios in by_name.values() for each in ratios]
    for low in (0.1, 0.3, 0.5, 0.7, 0.9):
        own = [each for each in everything if low <= each[0] < low + 0.2]
        print(summary(f"{low:.0%} to {min(low + 0.2, 0.99):.0%} over", own))
    print(summary("all", everything))
    return 0


if __name__ == "__main__":
    sys.exit(main())
