"""Searches carried out in processes of their own, each written down whole as it ends."""

import csv
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dmu_search.errors import ConfigError
from simulation.cluster import Cluster, Outcome
from simulation.contenders import Setup, search_of, takes_prior
from simulation.lcbench import LCBench, Surrogate
from simulation.problems import Problem
from simulation.tables import Table

COLUMNS = ("contender", "task", "seed", "epochs", "time", "value")
# Beside the results: what each search cost, and with what it was simulated.
COST_COLUMNS = (
    *("contender", "task", "seed", "workers", "budget", "epochs", "time", "trials"),
    "cpu_s",
)


@dataclass(frozen=True)
class Plan:
    """One search to carry out.

    Attributes:
        contender: its name.
        task: its name.
        seed: of the search.
        workers: of the cluster.
        budget: in full trainings.
        prior: ``good``, ``medium``, ``bad`` or ``none``.
        lcbench: folder of LCBench; None: the task is a part of our table.
    """

    contender: str
    task: str
    seed: int
    workers: int
    budget: float
    prior: str
    lcbench: Path | None

    @property
    def label(self) -> str:
        """The contender as the CSV file has it: with its prior, if it has one."""
        has_prior = self.prior != "none" and takes_prior(self.contender)
        return f"{self.contender}+{self.prior}" if has_prior else self.contender

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells searches of one file apart."""
        return self.label, self.task, str(self.seed)


@dataclass(frozen=True)
class Result:
    """What became of a plan.

    Attributes:
        plan: that was carried out.
        outcome: of the simulated search.
        cpu_s: processor time that it took, trainings predicted or looked up included.
    """

    plan: Plan
    outcome: Outcome
    cpu_s: float


def carry_out(plan: Plan) -> Result:
    """Simulate one search."""
    problem = problem_of(plan.task, plan.lcbench)
    epochs = round(plan.budget * problem.max_epochs)
    prior = None if plan.label == plan.contender else problem.prior(plan.prior)
    # Each trial trains for an epoch at least; those that the end cuts off are one per worker.
    setup = Setup(problem, plan.seed, epochs + plan.workers, prior)
    began = time.process_time()
    search = search_of(plan.contender, setup)
    cluster = Cluster(search, problem.begin(), max_epochs=problem.max_epochs, workers=plan.workers)
    outcome = cluster.carry_out(epochs)
    return Result(plan, outcome, time.process_time() - began)


_problems: dict[tuple[str, Path | None], Problem] = {}
_surrogates: dict[Path, Surrogate] = {}


def problem_of(task: str, lcbench: Path | None) -> Problem:
    """A task by name, loaded once per process.

    Raises:
        ConfigError: there is no such task.
    """
    if (task, lcbench) not in _problems:
        if lcbench is None:
            _problems[task, lcbench] = Table(task)
        else:
            if lcbench not in _surrogates:
                _surrogates[lcbench] = Surrogate(lcbench)
            _problems[task, lcbench] = LCBench(_surrogates[lcbench], task)
    return _problems[task, lcbench]


class ResultFile:
    """The CSV file of a benchmark, which grows by whole searches.

    Beside ``FILE.csv`` lies ``FILE.costs.csv``; a search that is not in both has not ended.

    Args:
        path: of the file; made with the first search.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.costs = path.with_suffix(".costs.csv")

    def done(self, plans: Sequence[Plan]) -> set[tuple[str, str, str]]:
        """Keys of the searches that it holds; rows of others are removed.

        Raises:
            ConfigError: the file is of a cluster or a budget other than that of the plans.
        """
        costs = _read(self.costs, COST_COLUMNS)
        setups = {(row[3], row[4]) for row in costs}
        wanted = {(str(plan.workers), f"{plan.budget:g}") for plan in plans}
        if setups and wanted - setups:
            (workers, budget), *_ = setups
            raise ConfigError(
                f"--csv {self.path}: holds searches with --workers {workers} --budget {budget}; "
                "use the same, or another file"
            )
        known = {(row[0], row[1], row[2]) for row in costs}
        rows = _read(self.path, COLUMNS)
        whole = [row for row in rows if (row[0], row[1], row[2]) in known]
        if len(whole) < len(rows):
            _write(self.path, COLUMNS, whole)
        return known

    def add(self, result: Result) -> None:
        """Write a search: its improvements first, then that it has ended."""
        plan, outcome = result.plan, result.outcome
        improvements = [
            (*plan.key, each.epochs, f"{each.time_s:.6g}", f"{each.value:.8g}")
            for each in outcome.improvements
        ]
        _append(self.path, COLUMNS, improvements)
        cluster = (plan.workers, f"{plan.budget:g}", outcome.epochs, f"{outcome.time_s:.6g}")
        cost = (*plan.key, *cluster, outcome.trials, f"{result.cpu_s:.3f}")
        _append(self.costs, COST_COLUMNS, [cost])


def carry_out_all(
    plans: Sequence[Plan], file: ResultFile, *, jobs: int, on_result: Callable[[Result], None]
) -> None:
    """Carry out what the file does not hold yet.

    Args:
        plans: all searches.
        file: gets their results.
        jobs: processes.
        on_result: told of each.

    Raises:
        ConfigError: the file is of another cluster.
    """
    done = file.done(plans)
    missing = [plan for plan in plans if plan.key not in done]
    for result in _results(missing, jobs):
        file.add(result)
        on_result(result)


def _results(plans: Sequence[Plan], jobs: int) -> Iterable[Result]:
    if jobs == 1 or len(plans) < 2:
        yield from map(carry_out, plans)
        return
    # Spawned: threads of numeric libraries do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(jobs, len(plans))) as pool:
        yield from pool.imap_unordered(carry_out, plans)


def _read(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Whole rows of a file, less its first; none where there is no file."""
    if not path.exists():
        return []
    content = path.read_text(encoding="utf-8")
    whole = content[: content.rfind("\n") + 1]
    if whole != content:
        path.write_text(whole, encoding="utf-8")
    rows = list(csv.reader(whole.splitlines()))
    if rows and tuple(rows[0]) != tuple(columns):
        raise ConfigError(f"--csv {path}: has other columns; use another file")
    return rows[1:]


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Replace a file, whole or not at all."""
    aside = path.with_name(path.name + ".new")
    with aside.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened, lineterminator="\n").writerows([columns, *rows])
    aside.replace(path)


def _append(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    head = [] if path.exists() and path.stat().st_size else [columns]
    with path.open("a", newline="", encoding="utf-8") as opened:
        csv.writer(opened, lineterminator="\n").writerows([*head, *rows])
