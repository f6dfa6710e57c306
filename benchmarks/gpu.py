"""Training on a GPU: CUDA graphs of whole steps against PyTorch operation by operation.

See README.md beside this file. It needs torch and numpy only.
"""

import argparse
import csv
import gc
import os
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmu_search.engine.kernels.backend import BACKEND_VARIABLE
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks import task_class
from dmu_search.engine.tasks.generated import Rules
from dmu_search.engine.tasks.polymusic import NOTES, PianoRolls, PolyMusic
from dmu_search.engine.training.optimiser import adam
from dmu_search.engine.training.passes import (
    BucketedPass,
    EagerRunner,
    GraphRunner,
    PlainPass,
    Runner,
)
from dmu_search.engine.training.step import TrainingStep
from dmu_search.names import TASKS

DMU_WIDTHS = {1: 100, 2: 122, 5: 131, 10: 136}  # Table 2 of the paper
POLYMUSIC_REPLICAS = (1, 5)
GENERATED = [name for name, entry in TASKS.items() if entry.data == "generated"]
SYNTHETIC_REPLICAS = (1, 51)
BATCH_SIZE = 32
# Steps of the 694 training tunes of Nottingham, at some of their quantiles. The time that training
# takes depends on lengths, not on notes, so the tunes are random ones of such lengths.
NOTTINGHAM = {
    0.0: 40, 0.05: 127, 0.1: 143, 0.2: 192, 0.4: 194, 0.6: 257, 0.75: 257, 0.8: 259, 0.85: 289,
    0.9: 384, 0.95: 513, 0.98: 644, 0.99: 769, 0.995: 910, 1.0: 1788,
}  # fmt: skip
# Of the loss of the first epoch, before rounding has had time to grow.
LARGEST_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        task: its name.
        network: of DMU.
        replicas: side by side.
    """

    task: str
    network: NetworkSettings
    replicas: int


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: epochs timed, after a first one that is not.
        tunes: of PolyMusic, in an epoch.
        batches: of a synthetic task, in an epoch.
        depths: of PolyMusic.
    """

    rounds: int
    tunes: int
    batches: int
    depths: tuple[int, ...]


WHOLE = Effort(rounds=3, tunes=694, batches=200, depths=tuple(DMU_WIDTHS))
SMOKE = Effort(rounds=1, tunes=24, batches=3, depths=(1,))


@dataclass(frozen=True)
class Timing:
    """One way to train a case.

    Attributes:
        first_s: of the first epoch, recordings included.
        epoch_s: of a later one, median.
        peak_mib: most memory that PyTorch held of the GPU.
        losses: of the first epoch, one per replica.
        problem: why there is no graph although there should be.
    """

    first_s: float
    epoch_s: float
    peak_mib: float
    losses: tuple[float, ...]
    problem: str | None


def random_rolls(tunes: int) -> PianoRolls:
    """Random chords in tunes of Nottingham's lengths; validation and test splits go unused."""
    rng = np.random.default_rng(0)
    at = np.linspace(0.0, 1.0, tunes)
    lengths = np.interp(at, list(NOTTINGHAM), list(NOTTINGHAM.values())).round().astype(int)
    train = tuple((rng.random((length, NOTES)) < 0.045).astype(np.uint8) for length in lengths)
    return PianoRolls(train, train[:1], train[:1])


def make_task(case: Case, effort: Effort, device: torch.device) -> Any:
    """The task, on the device."""
    if case.task == "polymusic":
        return PolyMusic(random_rolls(effort.tunes), device=device)
    rules = Rules(
        length=100,
        batches_per_epoch=effort.batches,
        train_sequences=1,
        valid_sequences=1,
        test_sequences=1,
    )
    return task_class(case.task)(rules, device=device)


def cases(effort: Effort) -> Iterator[Case]:
    """All that is measured."""
    for replicas in POLYMUSIC_REPLICAS:
        for depth in effort.depths:
            network = NetworkSettings("dmu", (DMU_WIDTHS[depth],) * depth)
            yield Case("polymusic", network, replicas)
    for task in GENERATED:
        for replicas in SYNTHETIC_REPLICAS:
            yield Case(task, NetworkSettings("dmu", (5, 5), z_bias=3.0), replicas)


def generators(case: Case) -> list[torch.Generator]:
    """As a training with seed 0 has them."""
    return [torch.Generator().manual_seed(replica) for replica in range(case.replicas)]


def train(case: Case, task: Any, runner: Runner | None, rounds: int) -> Timing:
    """Train some epochs, by the plain loop where there is no runner."""
    own = generators(case)
    training = TrainingSettings(
        0.005, weight_decay=1e-4, batch_size=BATCH_SIZE, max_epochs=rounds, replicas=case.replicas
    )
    network = task.network(case.network)
    drawn = network.initialise(own)
    weights = {name: weight.to(task.device).requires_grad_() for name, weight in drawn.items()}
    optimiser = adam(weights, network, settings=training, recordable=runner is not None)
    step = TrainingStep.of(task, network, weights=weights, optimiser=optimiser, training=training)
    run = PlainPass(step) if runner is None else BucketedPass(step, runner)
    on_gpu = task.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    times, losses = [], []
    for _ in range(1 + rounds):
        started = time.perf_counter()
        # The losses come to the CPU, which waits for all that the GPU has to do.
        losses.append(tuple(run(own).tolist()))
        times.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_reserved() / 2**20 if on_gpu else 0.0
    return Timing(times[0], statistics.median(times[1:]), peak, losses[0], run.problem)


def release(device: torch.device) -> None:
    """Give memory back, so that the next one is measured alone."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def size(case: Case, task: Any) -> tuple[int, float]:
    """Time steps of an epoch one after the other, and rows with padding over those without."""
    own = generators(case)
    task.network(case.network).initialise(own)
    steps, rows, real = 0, 0, 0
    for batch in task.bucketed_batches(own, BATCH_SIZE):
        if case.task == "polymusic":
            longest = int(batch.rows.last_row.max())
            steps += int(batch.rows.bucket.time[longest]) + 1
            rows += batch.rows.bucket.rows * case.replicas
            real += int(batch.rows.counts.sum())
        else:
            times, sequences = batch.inputs.shape[1:3]
            steps += int(batch.lengths.max())
            rows += times * sequences * case.replicas
            real += int(batch.lengths.sum())
    return steps, rows / real


HEADER = (
    "task", "depth", "replicas", "how", "s_per_epoch", "us_per_step", "first_epoch_s", "peak_mib",
    "rows", "speedup", "loss_difference",
)  # fmt: skip


def measure(case: Case, effort: Effort, device: torch.device) -> Iterator[tuple[object, ...]]:
    """A line for each way to train the case."""
    task = make_task(case, effort, device)
    steps, padding = size(case, task)
    runner = GraphRunner(device) if device.type == "cuda" else EagerRunner()
    plain: Timing | None = None
    for how, chosen in (("plain", None), ("graphs", runner)):
        try:
            timing = train(case, task, chosen, effort.rounds)
        except torch.OutOfMemoryError:
            yield *_names(case), f"{how}: out of memory", *[""] * 7
            continue
        finally:
            release(device)
        plain = timing if chosen is None else plain
        differences = [
            abs(own - other) / abs(other)
            for own, other in zip(timing.losses, plain.losses if plain else (), strict=False)
        ]
        yield (
            *_names(case),
            f"{how}: {timing.problem}" if timing.problem else how,
            round(timing.epoch_s, 4),
            round(1e6 * timing.epoch_s / steps, 2),
            round(timing.first_s, 3),
            round(timing.peak_mib),
            round(padding if chosen else 1.0, 2),
            round(plain.epoch_s / timing.epoch_s, 2) if plain else "",
            f"{max(differences, default=float('nan')):.1e}",
        )


def _names(case: Case) -> tuple[str, int, int]:
    return case.task, case.network.depth, case.replicas


def print_row(row: tuple[object, ...]) -> None:
    """Columns of fixed width."""
    layout = "{:<10} {:>5} {:>8}  {:<8} {:>11} {:>11} {:>13} {:>8} {:>5} {:>7} {:>15}"
    print(layout.format(*row), flush=True)


def main() -> int:
    """Measure, print, and write the CSV file; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds, to see that all works")
    parser.add_argument("--task", choices=("polymusic", *GENERATED), help="this one only")
    parser.add_argument("--csv", type=Path, default=Path("gpu_benchmark.csv"))
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not arguments.smoke:
        built = torch.version.cuda or "none"
        print(f"There is no GPU that torch {torch.__version__} (CUDA: {built}) can use here.")
        return 2
    # What the plain contender is; the other one brings its own runner.
    os.environ[BACKEND_VARIABLE] = "reference"
    warnings.simplefilter("ignore", RuntimeWarning)  # the table has them
    effort = SMOKE if arguments.smoke else WHOLE
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, buckets run eagerly"
    print(f"{where}; torch {torch.__version__}, CUDA {torch.version.cuda}; float32; batches of 32")
    print("PolyMusic: random tunes of Nottingham's lengths, not the corpus; evaluation left out")
    if arguments.smoke:
        print("Smoke test: far too little data to say anything about speed.")
    print_row(HEADER)
    rows = []
    for case in cases(effort):
        if arguments.task in (None, case.task):
            for row in measure(case, effort, device):
                print_row(row)
                rows.append((*row, where, torch.__version__))
    with arguments.csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(*HEADER, "device", "torch"), *rows])
    print(f"written to {arguments.csv}")
    faults = [row for row in rows if row[3] not in ("plain", "graphs")]
    different = [row for row in rows if row[10] and not float(row[10]) < LARGEST_DIFFERENCE]
    for row in different:
        print(f"{row[0]}, depth {row[1]}, {row[2]} replicas: the losses differ by {row[10]}")
    return int(bool(faults or different))


if __name__ == "__main__":
    sys.exit(main())
