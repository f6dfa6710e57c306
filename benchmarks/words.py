"""Times an embedding and a large softmax beside their plain composition: see README.md.

python benchmarks/words.py [--rounds N] [--csv FILE]
"""

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# One thread everywhere, also in libraries that look before torch can tell them.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor
from torch.nn import functional

from dmu_search.engine.kernels.words import embed, softmax_nll, word_nll


@dataclass(frozen=True)
class Case:
    """A batch of one replica.

    Attributes:
        rows: words of the batch.
        vocabulary: words that can come in.
        embedding: width of the table.
        width: of what the softmax reads.
        outputs: words that can come out.
    """

    rows: int
    vocabulary: int
    embedding: int
    width: int
    outputs: int


CASES = {
    "natlang": Case(rows=32 * 100, vocabulary=10_000, embedding=64, width=100, outputs=10_000),
    "translation": Case(rows=32 * 10, vocabulary=24_793, embedding=650, width=200, outputs=12_933),
}
HEADER = ("task", "part", "contender", "wall_ms", "cpu_ms", "extra_resident_mb")

Lookup = Callable[[Tensor, Tensor], Tensor]


def plain_embed(table: Tensor, words: Tensor) -> Tensor:
    """The library's lookup, a flat table for all replicas."""
    first = torch.arange(len(table)).unsqueeze(1) * table.shape[1]
    return functional.embedding(words + first, table.flatten(0, 1))


def plain_nll(states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """The library's layers, all logits at once, ``(replica, row)``."""
    logits = torch.baddbmm(bias, states, weight)
    nll = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return nll.reshape(targets.shape)


def embedding_step(case: Case, lookup: Lookup, *, keep_gradient: bool) -> Callable[[], None]:
    """Look up a batch and add its gradient to the table's."""
    table = torch.randn(1, case.vocabulary, case.embedding, requires_grad=True)
    words = torch.randint(case.vocabulary, (1, case.rows))
    upstream = torch.randn(1, case.rows, case.embedding)
    if keep_gradient:
        table.grad = torch.zeros_like(table)

    def step() -> None:
        if keep_gradient:
            table.grad.zero_()
        else:
            table.grad = None
        lookup(table, words).backward(upstream)

    return step


def softmax_step(case: Case, mean: Callable[..., Tensor], *, train: bool) -> Callable[[], None]:
    """The mean loss of a batch, and in training its gradients."""
    states = torch.randn(1, case.rows, case.width, requires_grad=train)
    weight = torch.randn(1, case.width, case.outputs).mul_(0.1).requires_grad_(train)
    bias = torch.zeros(1, 1, case.outputs, requires_grad=train)
    targets = torch.randint(case.outputs, (1, case.rows))

    def step() -> None:
        states.grad = weight.grad = bias.grad = None
        loss = mean(states, weight, bias, targets)
        if train:
            loss.backward()

    return step


def contenders(case: Case) -> dict[tuple[str, str], Callable[[], Callable[[], None]]]:
    """Each part of a task and who does it, to be made in a process of its own."""

    def fused_mean(states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        shares = torch.full(targets.shape, 1.0 / targets.numel())
        return softmax_nll(states, weight, bias, targets=targets, shares=shares)[0].sum()

    def plain_mean(*arguments: Tensor) -> Tensor:
        return plain_nll(*arguments).mean()

    def chunked_mean(states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        return word_nll(states, weight, bias, targets=targets).mean()

    return {
        ("embedding", "plain"): lambda: embedding_step(case, plain_embed, keep_gradient=False),
        ("embedding", "engine"): lambda: embedding_step(case, embed, keep_gradient=True),
        ("softmax, training", "plain"): lambda: softmax_step(case, plain_mean, train=True),
        ("softmax, training", "engine"): lambda: softmax_step(case, fused_mean, train=True),
        ("softmax, evaluation", "plain"): lambda: softmax_step(case, plain_mean, train=False),
        ("softmax, evaluation", "engine"): lambda: softmax_step(case, chunked_mean, train=False),
    }


def measure(case: str, part: str, name: str, rounds: int) -> tuple[float, float, float]:
    """Median wall and CPU time of a step in ms, and what steps add to the resident set in MB."""
    torch.set_num_threads(1)
    small = Case(rows=2, vocabulary=3, embedding=2, width=2, outputs=3)
    contenders(small)[part, name]()()  # loads, or builds, what the step needs
    step = contenders(CASES[case])[part, name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    wall, cpu = [], []
    for _ in range(rounds):
        started = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - started[0])
        cpu.append(time.process_time() - started[1])
    # In kB on Linux, in bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit
    return 1e3 * statistics.median(wall), 1e3 * statistics.median(cpu), extra


def main() -> None:
    """Measure each contender in a process of its own, print, and write the CSV file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--csv", type=Path, default=Path("words_benchmark.csv"))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(*measure(*arguments.one, arguments.rounds))
        return
    rows: list[tuple[object, ...]] = []
    print("{:<12} {:<20} {:<9} {:>8} {:>8} {:>18}".format(*HEADER))
    for case in CASES:
        for part, name in contenders(CASES[case]):
            words = ["--one", case, part, name, "--rounds", str(arguments.rounds)]
            printed = subprocess.check_output([sys.executable, __file__, *words], text=True)
            rows.append((case, part, name, *(round(float(each), 1) for each in printed.split())))
            print("{:<12} {:<20} {:<9} {:>8} {:>8} {:>18}".format(*rows[-1]), flush=True)
    with arguments.csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows])
    print(f"written to {arguments.csv}")


if __name__ == "__main__":
    main()
