"""Tables and plots from the files of benchmarks/search.py: see docs/search.md.

python benchmarks/search_report.py [--lcbench DIR] [--plots NAME] FILE.csv [FILE.csv ..]

Prints Markdown. With --plots it writes docs/images/NAME.svg. All files are of one --workers and
--budget, and one of them has random-asha.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numpy as np
from simulation.measures import BASELINE, Benchmark, bootstrapped, read_benchmark
from simulation.runs import problem_of

from dmu_search.errors import DmuSearchError
from dmu_search.exit_codes import BAD_INPUT, DONE
from dmu_search.results.estimate import Estimate

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; returns 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.csv")
    parser.add_argument("--lcbench", type=Path, metavar="DIR", help="where tasks are its numbers")
    parser.add_argument("--plots", metavar="NAME", help="name of the plots' file")
    words = parser.parse_args(arguments)
    try:
        benchmark = read_benchmark(words.files, lambda task: problem_of(task, words.lcbench))
    except DmuSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    print("\n\n".join(sections(benchmark)))
    if words.plots:
        draw(benchmark, IMAGES / f"{words.plots}.svg")
    return DONE


def sections(benchmark: Benchmark) -> Iterable[str]:
    """The tables, each with a line of what it shows."""
    seeds = {len(benchmark.seeds(name, BASELINE)) for name in benchmark.contenders}
    yield (
        f"{len(benchmark.tasks)} tasks, {'/'.join(map(str, sorted(seeds)))} seeds, "
        f"{benchmark.workers} workers, {benchmark.budget:g} full trainings."
    )
    yield "Normalised regret after so many full trainings (interquartile mean, 95% interval):"
    yield _regret_table(benchmark, by_time=False)
    yield (
        "The same after the time in which random-asha trains so much (simulated, proposals cost "
        "nothing):"
    )
    yield _regret_table(benchmark, by_time=True)
    yield "Mean rank:"
    yield _rank_table(benchmark)
    yield "Beside random-asha, of the same task and seed:"
    yield _beside_table(benchmark)
    yield "Mean normalised regret at the end, by task, and seeds that end lower / higher:"
    yield _task_table(benchmark)


def _regret_table(benchmark: Benchmark, *, by_time: bool) -> str:
    rows = []
    for name in benchmark.contenders:
        regrets = benchmark.regrets(name, by_time=by_time)
        cells = [_estimate(bootstrapped(regrets[:, :, i])) for i in range(regrets.shape[2])]
        rows.append([name, *cells])
    return table(["", *(f"{point:g}" for point in benchmark.points)], rows)


def _rank_table(benchmark: Benchmark) -> str:
    ranks = benchmark.ranks()
    rows = [[name, *(f"{rank:.2f}" for rank in of_name)] for name, of_name in ranks.items()]
    return table(["", *(f"{point:g}" for point in benchmark.points)], rows)


def _beside_table(benchmark: Benchmark) -> str:
    baseline = bootstrapped(benchmark.regrets(BASELINE)[:, :, -1]).value
    rows = []
    for name in benchmark.contenders:
        shares = benchmark.shares_to_reach(name)
        final = bootstrapped(benchmark.regrets(name)[:, :, -1]).value
        wins = benchmark.wins(name).values()
        median = float(np.median(shares))
        rows.append(
            [
                name,
                f"{np.isfinite(shares).mean():.0%}",
                f"{median:.0%}" if np.isfinite(median) else "never",
                f"{final / baseline:.2f}",
                f"{sum(win for win, _ in wins)} / {sum(loss for _, loss in wins)}",
                f"{benchmark.cpu_s(name):.1f}",
            ]
        )
    head = ["", "reaches its final loss", "at (median share of the budget)", "regret over its own"]
    return table([*head, "ends lower / higher", "CPU s per search"], rows)


def _task_table(benchmark: Benchmark) -> str:
    names = benchmark.contenders
    final = {name: benchmark.regrets(name)[:, :, -1].mean(axis=1) for name in names}
    wins = {name: benchmark.wins(name) for name in names}
    rows = []
    for number, task in enumerate(benchmark.tasks):
        cells = [f"{final[BASELINE][number]:.2f}"]
        for name in names[1:]:
            lower, higher = wins[name][task]
            cells.append(f"{final[name][number]:.2f} ({lower}/{higher})")
        rows.append([task, *cells])
    return table(["task", *names], rows)


def _estimate(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(benchmark: Benchmark, file: Path) -> None:
    """Regret against epochs, and against simulated time."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {"svg.hashsalt": "dmu_search", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for by_time, panel in zip((False, True), axes, strict=True):
            for name in benchmark.contenders:
                regrets = benchmark.regrets(name, by_time=by_time)
                known = [bootstrapped(regrets[:, :, i]) for i in range(regrets.shape[2])]
                (line,) = panel.plot(benchmark.points, [e.value for e in known], label=name)
                low, high = [e.low for e in known], [e.high for e in known]
                panel.fill_between(benchmark.points, low, high, alpha=0.2, color=line.get_color())
            panel.set_xscale("log", base=2)
            panel.set_xticks(benchmark.points, [f"{point:g}" for point in benchmark.points])
            panel.set_xlabel(
                "simulated time, in full trainings of random-asha" if by_time else "full trainings"
            )
        axes[0].set_ylabel("normalised regret")
        axes[1].legend(frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
