"""Times training steps of Spanish to English and says what they hold in memory: see README.md.

python benchmarks/translation.py [--steps N] [--replicas N]
"""

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# Both must be set before the libraries are loaded; the package beside this folder is measured.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from dmu_search.data.files import DataStore
from dmu_search.data.pairs import load_pairs
from dmu_search.data.settings import DataSettings
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.translation import Translation
from dmu_search.engine.training.step import TrainingStep
from dmu_search.engine.training.trainer import Trainer

WARM_UP = 3


def main() -> None:
    """Measure the paper's shallowest DMU on the first 30 000 pairs, in batches of 32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--replicas", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    corpus = load_pairs("spa2eng", DataStore.from_settings(DataSettings()), pairs=30_000)
    task = Translation(corpus.pairs)
    before = peak_mb()
    for ratio in (1.0, 0.0):
        training = TrainingSettings(
            0.005,
            batch_size=32,
            max_epochs=1,
            weight_decay=1e-4,
            teacher_forcing_ratio=ratio,
            replicas=arguments.replicas,
        )
        trainer = Trainer(task, NetworkSettings("dmu", (200,)), training=training)
        step, adam = steps(trainer, arguments.steps)
        epoch = step * task.batches_per_epoch(training.batch_size)
        validation = timed(partial(trainer._evaluate, trainer.weights, "valid"))
        print(
            f"teacher forcing {ratio:g}: {step * 1e3:.0f} ms per step, {adam * 1e3:.0f} of them in "
            f"Adam; {epoch:.0f} s of steps per epoch, {validation:.1f} s of validation (CPU time)"
        )
        if ratio == 1.0:
            print(
                f"peak memory {peak_mb():.0f} MB, {before:.0f} of them before there was a network"
            )


def steps(trainer: Trainer, count: int) -> tuple[float, float]:
    """Median CPU seconds of a training step, and of Adam in it."""
    batches = trainer.task.train_batches(trainer._generators, trainer.training)
    step = TrainingStep.of(
        trainer.task,
        trainer.network,
        weights=trainer.weights,
        optimiser=trainer._optimiser,
        training=trainer.training,
    )
    times = []
    for _ in range(count + WARM_UP):
        batch = next(batches)
        whole = timed(partial(step, batch))
        times.append((whole, timed(trainer._optimiser.step)))
    whole, adam = zip(*times[WARM_UP:], strict=True)
    return statistics.median(whole), statistics.median(adam)


def timed(work: Callable[[], object]) -> float:
    """CPU seconds that some work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def peak_mb() -> float:
    """Most memory that this process ever held, on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
