"""Times training steps of this checkout beside those of others, in turns: see README.md.

python benchmarks/engine_trees.py [--tree FOLDER ..] [--networks TASK:MODEL:DEPTH ..] [--rounds N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
NETWORKS = [
    *(f"polymusic:{model}:{depth}" for model in ("dmu", "rhn") for depth in (1, 2, 5, 10)),
    "synthetic:dmu:2:51",
    "synthetic:rhn:3:51",
    "natlang:dmu:1:1.0",
    "translation:dmu:1:1.0",
    "translation:dmu:1:0.0",
]
# Of a tiny network the products are the smaller part; of one with words they are not counted.
PRODUCTS_MATTER = "polymusic"
PEAK_ROWS, PEAK_WIDTH, PEAK_CALLS = 768, 512, 10


class Checkout:
    """A process that trains by the engine of one checkout, when it is told to.

    Args:
        tree: the folder of the checkout.
    """

    def __init__(self, tree: Path) -> None:
        environment = os.environ | {"DMU_SEARCH_BENCHMARKED": str(tree)}
        command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, words: str) -> float:
        """Send a line, and wait for the number that it answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(words, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process of a checkout ended at {words!r}; see above")
        return float(answer)

    def end(self) -> None:
        """Let the process end."""
        self._process.communicate()


def work() -> None:
    """Read lines in the process of a checkout, and answer each with a number."""
    import engine
    import torch

    torch.set_num_threads(1)
    peak = (torch.randn(1, PEAK_ROWS, PEAK_WIDTH), torch.randn(1, PEAK_WIDTH, PEAK_WIDTH))
    step: Callable[[], object] = float
    calls = 1
    for line in sys.stdin:
        word, *name = line.split()
        if word == "network":
            step, gflop = engine.step_of(*name)
            calls = engine.calls_of(step)
            print(gflop, flush=True)
        elif word == "step":
            print(cpu_seconds(step, calls), flush=True)
        else:
            print(cpu_seconds(lambda: engine.multiply(*peak), PEAK_CALLS), flush=True)


def cpu_seconds(run: Callable[[], object], calls: int) -> float:
    """CPU time of a call, after one that brings back into the caches what others displaced."""
    run()
    started = time.process_time()
    for _ in range(calls):
        run()
    return (time.process_time() - started) / calls


def compare(checkouts: list[Checkout], network: str, *, rounds: int) -> str:
    """Take turns with one network; a line of the table."""
    gflop, *_ = [checkout.ask(f"network {network}") for checkout in checkouts]
    seen, fastest = [], [float("inf")] * len(checkouts)
    for _ in range(rounds):
        times = [checkout.ask("step") for checkout in checkouts]
        peak = 2e-9 * PEAK_ROWS * PEAK_WIDTH**2 / checkouts[0].ask("peak")
        fastest = list(map(min, fastest, times))
        seen.append([times[0], times[0] * peak / gflop, *(t / times[0] for t in times[1:])])
    step, over, *ratios = map(statistics.median, zip(*seen, strict=True))
    best = [least / fastest[0] for least in fastest[1:]]
    others = [f"{ratio:7.2f} {least:9.2f}" for ratio, least in zip(ratios, best, strict=True)]
    shown = f"{over:13.2f}" if network.startswith(PRODUCTS_MATTER) else " " * 13
    return " ".join([f"{network:<22} {1e3 * step:8.2f}", shown, *others])


def main() -> None:
    """Take turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, nargs="*", default=[], help="other checkouts")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work()
        return
    checkouts = [Checkout(tree.resolve()) for tree in (HERE, *arguments.tree)]
    others = " ".join("  ratio  fastest" for _ in arguments.tree)
    print(f"{'network':<22} {'ms':>8} over products {others}")
    for network in arguments.networks:
        print(compare(checkouts, network, rounds=arguments.rounds), flush=True)
    for checkout in checkouts:
        checkout.end()


if __name__ == "__main__":
    main()
