"""Searches on a simulated cluster, the product's beside stock ones: see docs/search.md.

python benchmarks/search.py [--lcbench DIR] [--table NAME] [--tasks a,b] [--seeds N] [--workers N]
    [--budget FULL_TRAININGS] [--contenders ours,random-asha,..] [--prior good|medium|bad|none]
    [--jobs N] --csv FILE

FILE gets a row per improvement of the incumbent. The same command resumes what was cut off.
"""

import argparse
import os
import sys
from pathlib import Path

# One thread everywhere: processes are what uses the cores.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from simulation.contenders import OURS, STOCK, check
from simulation.lcbench import DEVELOPMENT_TASKS
from simulation.runs import Plan, Result, ResultFile, carry_out_all, problem_of
from simulation.tables import parts

from dmu_search.errors import DmuSearchError
from dmu_search.exit_codes import BAD_INPUT, DONE


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments ask for; returns 0, or 2 on bad input."""
    words = _parser().parse_args(arguments)
    try:
        plans = plans_of(words)
        carry_out_all(plans, ResultFile(words.csv), jobs=words.jobs, on_result=_say)
    except DmuSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return DONE


def plans_of(words: argparse.Namespace) -> list[Plan]:
    """All searches of a command, seed after seed, so that a part of them is balanced.

    Raises:
        ConfigError: a contender, a task or a prior that does not exist.
    """
    contenders, tasks = words.contenders.split(","), _tasks(words)
    for contender in contenders:
        check(contender)
    for task in tasks:
        problem = problem_of(task, words.lcbench)
        if words.prior != "none":
            problem.prior(words.prior)
    return [
        Plan(contender, task, seed, words.workers, words.budget, words.prior, words.lcbench)
        for seed in range(words.seeds)
        for task in tasks
        for contender in contenders
    ]


def _tasks(words: argparse.Namespace) -> list[str]:
    if words.lcbench is not None:
        return list(words.tasks.split(",") if words.tasks else DEVELOPMENT_TASKS)
    named = words.tasks or words.table
    return list(parts()) if named == "all" else list(named.split(","))


def _say(result: Result) -> None:
    plan, outcome = result.plan, result.outcome
    print(
        f"{plan.label} {plan.task} seed {plan.seed}: {outcome.improvements[-1].value:.5g} after "
        f"{outcome.epochs} epochs of {outcome.trials} trials, {result.cpu_s:.1f} s",
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--lcbench", type=Path, metavar="DIR", help="LCBench's folder")
    source.add_argument("--table", metavar="NAME", help="a part of our table, or all")
    parser.add_argument("--tasks", help="of LCBench, by number; default: 20 development tasks")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--budget", type=float, default=25, metavar="FULL_TRAININGS")
    parser.add_argument("--contenders", default=",".join([OURS, *STOCK]))
    parser.add_argument("--prior", choices=("good", "medium", "bad", "none"), default="none")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--csv", type=Path, required=True, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
