"""Times training steps of the engine beside other ways to do the same: see README.md.

python benchmarks/engine.py [--quick] [--csv FILE]
"""

import argparse
import csv
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

# The checkout that is measured: this one, unless engine_trees.py says otherwise.
MEASURED = os.environ.get("DMU_SEARCH_BENCHMARKED", str(Path(__file__).parents[1]))
# One thread everywhere, also in libraries that look before torch can tell them.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path.insert(0, MEASURED)

import numpy as np
import torch

try:
    import jax_contender
except ImportError:
    jax_contender = None

from contenders import (
    Batch,
    Step,
    eager_step,
    engine_step,
    floor_step,
    library_step,
    products_gflop,
)

from dmu_search.data.corpus import Corpus, load_piano_rolls
from dmu_search.data.files import DataStore
from dmu_search.data.pairs import load_pairs
from dmu_search.data.settings import DataSettings
from dmu_search.engine.kernels.backend import BACKEND_VARIABLE, choose_backend
from dmu_search.engine.kernels.native.products import multiply
from dmu_search.engine.kernels.rows import PackedRows
from dmu_search.engine.networks.network import build_network
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.natlang import NatLang, Text
from dmu_search.engine.tasks.polymusic import NOTES, PolyMusic
from dmu_search.engine.tasks.translation import Translation
from dmu_search.engine.training.step import TrainingStep
from dmu_search.engine.training.trainer import Trainer

CPU = torch.device("cpu")
CORPUS = "nottingham" if os.environ.get("DMU_SEARCH_DATA_MIRROR") else "demo"
BACKENDS = ("native", "reference")  # those that a CPU has
DMU_WIDTHS = {1: 100, 2: 122, 5: 131, 10: 136}  # Table 2 of the paper
POLYMUSIC = [
    *(NetworkSettings("dmu", (width,) * depth) for depth, width in DMU_WIDTHS.items()),
    *(NetworkSettings("rhn", (100,) * depth) for depth in DMU_WIDTHS),
    *(NetworkSettings(model, (100,)) for model in ("lstm", "gru", "rnn")),
]
SYNTHETIC = [
    NetworkSettings("dmu", (5, 5), z_bias=3.0),
    NetworkSettings("rhn", (4, 4, 4)),
    NetworkSettings("lstm", (2, 2)),
    NetworkSettings("gru", (3, 2)),
    NetworkSettings("rnn", (5, 5)),
]
SYNTHETIC_INPUTS = 2
SYNTHETIC_REPLICAS = (1, 51)
BATCH_SIZE = 32
SHORTEST_TIMING_S = 0.1


@dataclass(frozen=True)
class Timing:
    """Medians over rounds, of one call."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: calls of each contender, interleaved, after one to warm up.
        batches: of PolyMusic, out of an epoch.
    """

    rounds: int
    batches: int


def measure(contenders: Mapping[str, Step], rounds: int) -> dict[str, Timing]:
    """Time all contenders in turn, so that other load on the machine meets them alike."""
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    calls = {name: calls_of(step) for name, step in contenders.items()}
    for _ in range(rounds):
        for name, step in contenders.items():
            if calls[name] > 1:
                step()  # brings back into the caches what the others have displaced
            started = time.perf_counter(), time.process_time()
            for _ in range(calls[name]):
                step()
            wall[name].append((time.perf_counter() - started[0]) / calls[name])
            cpu[name].append((time.process_time() - started[1]) / calls[name])
    return {
        name: Timing(statistics.median(wall[name]), statistics.median(cpu[name]))
        for name in contenders
    }


def calls_of(step: Step) -> int:
    """Calls in a row that take long enough to be timed, and to be what training is like."""
    step()
    started = time.perf_counter()
    step()
    return max(1, round(SHORTEST_TIMING_S / (time.perf_counter() - started)))


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Make the engine use a backend."""
    before = os.environ.get(BACKEND_VARIABLE)
    os.environ[BACKEND_VARIABLE] = name
    yield
    os.environ.pop(BACKEND_VARIABLE)
    if before is not None:
        os.environ[BACKEND_VARIABLE] = before


def with_backend(name: str, step: Step) -> Step:
    """The step, run by a backend."""

    def run() -> None:
        with backend(name):
            step()

    return run


def contenders_of(settings: NetworkSettings, batches: list[Batch]) -> dict[str, Step]:
    """Everything that can do these batches; see README.md for the names."""
    inputs, outputs = batches[0].x.shape[2], batches[0].targets.shape[2]
    network = build_network(settings, input_size=inputs, readout=(outputs,))
    steps = {name: with_backend(name, engine_step(network, batches)) for name in BACKENDS}
    for name, before in (("loop, inside", False), ("loop, before", True)):
        steps[name] = eager_step(settings, inputs, outputs, batches, project_before=before)
    if settings.model in ("lstm", "gru", "rnn"):
        steps["torch.nn"] = library_step(settings, inputs, outputs, batches)
    steps["products"] = floor_step(settings, inputs, outputs, batches)
    if jax_contender is not None and settings.model == "dmu":
        steps["jax"] = jax_contender.jax_step(settings, batches)
    return steps


# Which contenders train all replicas in one call; the others train one.
FUSED = (*BACKENDS, "jax")


def polymusic_batches(corpus: Corpus, count: int) -> tuple[list[Batch], float]:
    """Some batches of an epoch, and how many times their steps the epoch has."""
    task = PolyMusic(corpus.rolls)
    training = TrainingSettings(0.0, batch_size=BATCH_SIZE, max_epochs=1)
    drawn = list(task.train_batches([torch.Generator().manual_seed(0)], training))
    batches = [Batch(b.rows, b.inputs.float(), b.targets.float(), True) for b in drawn[:count]]
    steps = sum(int(batch.rows.row_counts[0]) for batch in batches)
    return batches, sum(int(b.rows.row_counts[0]) for b in drawn) / steps


def synthetic_batches(replicas: int) -> list[Batch]:
    """One batch of random sequences of 100 to 110 steps with a target each."""
    rng = np.random.default_rng(0)
    rows = PackedRows(rng.integers(100, 111, (replicas, BATCH_SIZE)), CPU)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*rows.valid.shape, SYNTHETIC_INPUTS, generator=generator)
    return [Batch(rows, x, torch.randn(replicas, BATCH_SIZE, 1, generator=generator), False)]


def peak_gflops() -> dict[str, float]:
    """Best speed of a large float32 product on one thread, by torch and by the engine."""
    a, b = torch.randn(1, 1536, 768), torch.randn(1, 768, 768)
    kinds: dict[str, Callable[[], object]] = {"torch": lambda: torch.bmm(a, b)}
    if choose_backend(CPU, torch.float32).name == "native":
        kinds["native"] = lambda: multiply(a, b)
    peaks = {}
    for name, run in kinds.items():
        times = []
        for _ in range(8):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        peaks[name] = 2e-9 * 1536 * 768 * 768 / min(times)
    return peaks


def step_of(name: str) -> tuple[Step, float]:
    """A native training step by its name, and the GFLOP of its products, one replica.

    Args:
        name: ``polymusic:MODEL:DEPTH``, ``synthetic:MODEL:DEPTH:REPLICAS``, or ``natlang:..`` or
            ``translation:MODEL:DEPTH:RATIO`` of teacher forcing, whose products are not counted.
    """
    task, model, depth, *more = name.split(":")
    if task in ("natlang", "translation"):
        width = 100 if task == "natlang" else 200
        return _word_step(task, NetworkSettings(model, (width,) * int(depth)), float(*more)), 1.0
    if task == "polymusic":
        corpus = load_piano_rolls(CORPUS, DataStore.from_settings(DataSettings()))
        known, (batches, _) = POLYMUSIC, polymusic_batches(corpus, 3)
    else:
        known, batches = SYNTHETIC, synthetic_batches(int(*more))
    settings = next(s for s in known if s.model == model and s.depth == int(depth))
    inputs, outputs = batches[0].x.shape[2], batches[0].targets.shape[2]
    network = build_network(settings, input_size=inputs, readout=(outputs,))
    return engine_step(network, batches), products_gflop(network, batches)


def _word_step(task_name: str, settings: NetworkSettings, ratio: float) -> Step:
    """The same six batches in turn, of random text or of Spanish and English."""
    training = TrainingSettings(
        0.005, batch_size=BATCH_SIZE, max_epochs=1, teacher_forcing_ratio=ratio
    )
    if task_name == "natlang":
        words = np.random.default_rng(0).integers(0, NatLang.vocabulary, BATCH_SIZE * 600 + 1)
        task: NatLang | Translation = NatLang(Text(words, words[:99], words[:99]))
    else:
        store = DataStore.from_settings(DataSettings())
        task = Translation(load_pairs("spa2eng", store, pairs=30_000).pairs)
    trainer = Trainer(task, settings, training=training)
    step = TrainingStep.of(
        task,
        trainer.network,
        weights=trainer.weights,
        optimiser=trainer._optimiser,
        training=training,
    )
    batches = list(islice(task.train_batches(trainer._generators, training), 6))

    def run() -> None:
        for batch in batches:
            step(batch)

    return run


HEADER = ("task", "model", "widths", "replicas", "contender", "unit", "wall", "cpu", "slower")


def rows_of(
    task: str, settings: NetworkSettings, replicas: int, scale: float, timings: dict[str, Timing]
) -> list[tuple[object, ...]]:
    """A line per contender: times per replica, and CPU time against the native backend's."""
    unit = "s per epoch" if task == "polymusic" else "ms per step"

    def per_replica(name: str, seconds: float) -> float:
        return seconds * scale / (replicas if name in FUSED else 1)

    base = per_replica("native", timings["native"].cpu_s)
    widths = "x".join(map(str, settings.widths))
    if len(set(settings.widths)) == 1:
        widths = f"{settings.depth} x {settings.widths[0]}"
    return [
        (
            task,
            settings.model,
            widths,
            replicas,
            name,
            unit,
            round(per_replica(name, timing.wall_s), 4),
            round(per_replica(name, timing.cpu_s), 4),
            round(per_replica(name, timing.cpu_s) / base, 2),
        )
        for name, timing in timings.items()
    ]


def run_polymusic(corpus: Corpus, effort: Effort) -> Iterator[list[tuple[object, ...]]]:
    """Measure one network after the other."""
    batches, scale = polymusic_batches(corpus, effort.batches)
    for settings in POLYMUSIC:
        timings = measure(contenders_of(settings, batches), effort.rounds)
        network = build_network(settings, input_size=NOTES, readout=(NOTES,))
        # What all products would take at the best speed measured for a large one.
        best = products_gflop(network, batches) / max(peak_gflops().values())
        timings["products at peak"] = Timing(best, best)
        yield rows_of("polymusic", settings, 1, scale, timings)


def run_synthetic(effort: Effort) -> Iterator[list[tuple[object, ...]]]:
    """Measure one network after the other."""
    for replicas in SYNTHETIC_REPLICAS:
        batches = synthetic_batches(replicas)
        for settings in SYNTHETIC:
            timings = measure(contenders_of(settings, batches), effort.rounds)
            yield rows_of("synthetic", settings, replicas, 1e3, timings)


def print_table(rows: list[tuple[object, ...]], *, header: bool) -> None:
    """Columns of fixed width."""
    for row in [HEADER, *rows] if header else rows:
        print("{:<10} {:<5} {:<9} {:>8}  {:<17} {:<12} {:>9} {:>9} {:>7}".format(*row), flush=True)


def main() -> None:
    """Measure, print, and write the CSV file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer batches and rounds")
    parser.add_argument("--task", choices=("polymusic", "synthetic"), help="one of the two only")
    parser.add_argument("--csv", type=Path, default=Path("engine_benchmark.csv"))
    arguments = parser.parse_args()
    effort = Effort(rounds=3, batches=2) if arguments.quick else Effort(rounds=5, batches=4)
    torch.set_num_threads(1)
    corpus = load_piano_rolls(CORPUS, DataStore.from_settings(DataSettings()))
    peaks = ", ".join(f"{name} {value:.0f}" for name, value in peak_gflops().items())
    print(f"corpus {corpus.name}; torch {torch.__version__}; {platform.machine()}, 1 thread")
    print(f"large products, GFLOPS: {peaks}; backend: {choose_backend(CPU, torch.float32)}")
    parts = {"polymusic": run_polymusic(corpus, effort), "synthetic": run_synthetic(effort)}
    chosen = parts.values() if arguments.task is None else [parts[arguments.task]]
    everything: list[tuple[object, ...]] = []
    for rows in chain.from_iterable(chosen):
        print_table(rows, header=not everything)
        everything += rows
    with arguments.csv.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *everything])
    print(f"written to {arguments.csv}")


if __name__ == "__main__":
    main()
