"""What the searches of a CSV file are worth, beside random search with ASHA."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dmu_search.errors import ConfigError
from dmu_search.results.estimate import CONFIDENCE, Estimate
from simulation.problems import Problem, on_scale

BASELINE = "random-asha"
# Full trainings after which searches are compared.
POINTS = (1, 2, 4, 8, 16, 25)
_RESAMPLES = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Searched:
    """One search, from its rows.

    Attributes:
        epochs: at each improvement.
        times: simulated, at each improvement, in seconds.
        losses: the best so far from there on, on the task's scale.
        end_s: simulated time at its end.
        cpu_s: that it took to simulate.
    """

    epochs: Floats
    times: Floats
    losses: Floats
    end_s: float
    cpu_s: float

    def after(self, at: Floats, axis: Floats) -> Floats:
        """The best loss at each point of an axis, ``epochs`` or ``times``; inf before the first."""
        index = np.searchsorted(axis, at, side="right")
        return np.concatenate([[math.inf], self.losses])[index]


@dataclass(frozen=True)
class Benchmark:
    """The searches of one cluster and budget.

    Attributes:
        searches: by contender, task and seed.
        tasks: in the order of the file.
        contenders: likewise, the baseline first.
        max_epochs: of a whole training, by task.
        best: the lowest known loss, by task, on its scale.
        budget: in full trainings.
        workers: of the cluster.
    """

    searches: Mapping[tuple[str, str, str], Searched]
    tasks: tuple[str, ...]
    contenders: tuple[str, ...]
    max_epochs: Mapping[str, int]
    best: Mapping[str, float]
    budget: float
    workers: int

    @property
    def points(self) -> tuple[float, ...]:
        """Budgets at which searches are compared."""
        return (*(float(p) for p in POINTS if p < self.budget), self.budget)

    def seeds(self, *contenders: str) -> tuple[str, ...]:
        """Seeds that all these contenders have in all tasks."""
        of_each = [
            {seed for name, of_task, seed in self.searches if (name, of_task) == (contender, task)}
            for contender in contenders
            for task in self.tasks
        ]
        return tuple(sorted(set.intersection(*of_each), key=int))

    def reference(self, task: str) -> float:
        """The loss on which a normalised regret is 1: the baseline's mean after one training."""
        losses = [
            search.after(np.array([float(self.max_epochs[task])]), search.epochs)[0]
            for (name, of_task, _), search in self.searches.items()
            if (name, of_task) == (BASELINE, task)
        ]
        return float(np.mean(losses))

    def regrets(self, contender: str, *, by_time: bool = False) -> Floats:
        """Normalised regrets at ``points``, ``(task, seed, point)``.

        ``(loss - best) / (reference - best)``, losses on the task's scale. By time, a point is that
        share of the baseline's mean simulated time.
        """
        seeds = self.seeds(contender, BASELINE)
        return np.array(
            [
                [self._regret(contender, task, seed, by_time=by_time) for seed in seeds]
                for task in self.tasks
            ]
        )

    def _regret(self, contender: str, task: str, seed: str, *, by_time: bool) -> Floats:
        search = self.searches[contender, task, seed]
        shares = np.array(self.points) / self.budget
        if by_time:
            losses = search.after(shares * self.baseline_time(task), search.times)
        else:
            budget = self.budget * self.max_epochs[task]
            losses = search.after(np.round(shares * budget), search.epochs)
        best = self.best[task]
        return np.asarray((losses - best) / (self.reference(task) - best))

    def baseline_time(self, task: str) -> float:
        """Mean simulated time of the baseline's whole search."""
        ends = [
            search.end_s
            for (name, of_task, _), search in self.searches.items()
            if (name, of_task) == (BASELINE, task)
        ]
        return float(np.mean(ends))

    def shares_to_reach(self, contender: str) -> Floats:
        """Share of the budget at which it reaches the baseline's final loss; inf where it does not.

        Of the same task and seed: ``(task, seed)``.
        """
        return np.array(
            [
                [self._share(contender, task, seed) for seed in self.seeds(contender, BASELINE)]
                for task in self.tasks
            ]
        )

    def _share(self, contender: str, task: str, seed: str) -> float:
        search = self.searches[contender, task, seed]
        target = self.searches[BASELINE, task, seed].losses[-1]
        there = search.epochs[search.losses <= target]
        return float(there[0]) / (self.budget * self.max_epochs[task]) if len(there) else math.inf

    def ranks(self) -> dict[str, Floats]:
        """Mean rank of each contender at ``points``, over tasks and the seeds that all have."""
        seeds = self.seeds(*self.contenders)
        losses = np.array(
            [
                [
                    [self._regret(name, task, seed, by_time=False) for seed in seeds]
                    for task in self.tasks
                ]
                for name in self.contenders
            ]
        )
        ranks = stats.rankdata(losses, axis=0).mean(axis=(1, 2))
        return dict(zip(self.contenders, ranks, strict=True))

    def wins(self, contender: str) -> dict[str, tuple[int, int]]:
        """By task, in how many seeds it ends lower, and higher, than the baseline."""
        counts = {}
        for task in self.tasks:
            pairs = [
                (
                    self.searches[contender, task, seed].losses[-1],
                    self.searches[BASELINE, task, seed].losses[-1],
                )
                for seed in self.seeds(contender, BASELINE)
            ]
            counts[task] = sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)
        return counts

    def cpu_s(self, contender: str) -> float:
        """Mean processor time of simulating one search."""
        times = [s.cpu_s for (name, _, _), s in self.searches.items() if name == contender]
        return float(np.mean(times))


def interquartile_mean(values: Floats) -> float:
    """The mean of the middle half, of sorted values without a quarter at each end."""
    ordered = np.sort(values, axis=None)
    left_out = ordered.size // 4
    return float(ordered[left_out : ordered.size - left_out].mean())


def bootstrapped(
    values: Floats, statistic: Callable[[Floats], float] = interquartile_mean
) -> Estimate:
    """A statistic over tasks and seeds, with the interval of a bootstrap over seeds in each task.

    Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021).

    Args:
        values: ``(task, seed)``.
        statistic: of values in any shape.
    """
    rng = np.random.default_rng(0)
    tasks, seeds = values.shape
    rows = np.arange(tasks)[:, None]
    again = [
        statistic(values[rows, rng.integers(seeds, size=(tasks, seeds))]) for _ in range(_RESAMPLES)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(again, [tail, 1 - tail])
    return Estimate(statistic(values), float(low), float(high))


def read_benchmark(files: Sequence[Path], problem: Callable[[str], Problem]) -> Benchmark:
    """The searches of CSV files and what they are measured by.

    Args:
        files: of ``benchmarks/search.py``, of one cluster and budget.
        problem: by the name of a task.

    Raises:
        ConfigError: files of different clusters or budgets, or none of the baseline.
    """
    rows = [row for file in files for row in _rows(file)]
    costs = [row for file in files for row in _rows(file.with_suffix(".costs.csv"))]
    setups = {(row["workers"], row["budget"]) for row in costs}
    if len(setups) != 1:
        raise ConfigError(
            f"{', '.join(map(str, files))}: must hold searches of one --workers and --budget, "
            f"got {len(setups)}"
        )
    tasks = tuple(dict.fromkeys(row["task"] for row in costs))
    names = tuple(dict.fromkeys(row["contender"] for row in costs))
    if BASELINE not in names:
        raise ConfigError(f"{files[0]}: has no searches of {BASELINE}, which all is measured by")
    problems = {task: problem(task) for task in tasks}
    searches = _searches(rows, costs, problems)
    ((workers, budget),) = setups
    return Benchmark(
        searches=searches,
        tasks=tasks,
        contenders=(BASELINE, *(name for name in names if name != BASELINE)),
        max_epochs={task: each.max_epochs for task, each in problems.items()},
        best={task: _best(each, task, searches) for task, each in problems.items()},
        budget=float(budget),
        workers=int(workers),
    )


def _best(problem: Problem, task: str, searches: Mapping[tuple[str, str, str], Searched]) -> float:
    """The lowest known loss of a task, or what a contender found below it."""
    found = [search.losses[-1] for (_, of_task, _), search in searches.items() if of_task == task]
    return float(min(on_scale(problem.best_known(), problem.scale), *found))


def _searches(
    rows: Iterable[Mapping[str, str]],
    costs: Iterable[Mapping[str, str]],
    problems: Mapping[str, Problem],
) -> dict[tuple[str, str, str], Searched]:
    improvements: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
    for row in rows:
        loss = on_scale(float(row["value"]), problems[row["task"]].scale)
        entry = float(row["epochs"]), float(row["time"]), loss
        improvements.setdefault(_key(row), []).append(entry)
    searches = {}
    for cost in costs:
        epochs, times, losses = np.array(improvements[_key(cost)]).T
        end_s, cpu_s = float(cost["time"]), float(cost["cpu_s"])
        searches[_key(cost)] = Searched(epochs, times, losses, end_s, cpu_s)
    return searches


def _key(row: Mapping[str, str]) -> tuple[str, str, str]:
    return row["contender"], row["task"], row["seed"]


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; benchmarks/search.py --csv writes it")
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))
