"""CPU time of a search's driver per result, beside Ray Tune alone with trials of the same shape.

    python benchmarks/driver_cost.py [--trials 150] [--epochs 2] [--rounds 3]

Both have two processes that trials share one after the other, and Tune's own files turned off. Ray
Tune alone trains nothing, draws one number as the setting, and neither journal, records nor screen
follow it. CPU time is that of the driving process, its threads included, from the 20th result to
the last. Linux only.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SKIPPED = 20
_LOOK_EVERY_S = 0.05
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
OURS = (
    "task=adding",
    "data.length=12",
    "data.batches_per_epoch=1",
    "search.scheduler=none",
    "search.sampler=random",
    "search.finalists=0",
    "search.page=false",
    "resources.cpus=2",
    "resources.object_store_mb=100",
)


def main() -> None:
    """Print a row for each round and side, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        print(ray_alone(given.trials, given.epochs))
        return
    found: dict[str, list[float]] = {"a search": [], "Ray Tune alone": []}
    for _ in range(given.rounds):
        for name, costs in found.items():
            run = ray_process if name == "Ray Tune alone" else search
            costs.append(run(given.trials, given.epochs))
            load = os.getloadavg()[0]
            print(f"| {name} | load {load:.1f} | {costs[-1]:.2f} ms per result |", flush=True)
    for name, costs in found.items():
        print(f"{name}: median {statistics.median(costs):.2f} ms of CPU time per result")


def search(trials: int, epochs: int) -> float:
    """Milliseconds of CPU time per result of a search."""
    with tempfile.TemporaryDirectory(prefix="dmu_search-driver-") as scratch:
        words = [*OURS, f"search.trials={trials}", f"training.max_epochs={epochs}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "dmu_search", "tune", *words, f"output_dir={scratch}/r"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        marks: list[tuple[int, float]] = []
        # What comes after the last result is not a result's.
        for cpu in cpu_seconds(process):
            results = recorded(Path(scratch) / "r")
            if results >= SKIPPED and (not marks or results > marks[-1][0]):
                marks.append((results, cpu))
        if process.returncode:
            raise SystemExit(f"the search ended with {process.returncode}")
    (first, before), (last, after) = marks[0], marks[-1]
    return 1000 * (after - before) / (last - first)


def cpu_seconds(process: subprocess.Popen[bytes]) -> Iterator[float]:
    """CPU time of a process so far, again and again until it ends."""
    stat = Path(f"/proc/{process.pid}/stat")
    while process.poll() is None:
        fields = stat.read_text().rpartition(")")[2].split()
        yield (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        time.sleep(_LOOK_EVERY_S)


def recorded(output_dir: Path) -> int:
    """Epochs on record."""
    return sum(
        path.read_bytes().count(b'"epoch_wall_time_s"')
        for path in (output_dir / "records").glob("*.jsonl")
    )


def ray_process(trials: int, epochs: int) -> float:
    """The same of Ray Tune alone, in a process of its own."""
    words = ["--alone", "--trials", str(trials), "--epochs", str(epochs)]
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def ray_alone(trials: int, epochs: int) -> float:
    """The same, measured from inside."""
    import logging

    import ray
    from ray import tune

    class Nothing(tune.Trainable):
        """Reports an epoch, as soon as it is asked."""

        def step(self) -> dict[str, object]:
            return {"objective": 1.0, "done": self.iteration + 1 >= epochs}

        def reset_config(self, new_config: dict[str, object]) -> bool:
            return True

    class Clock(tune.Callback):
        """CPU time at each result."""

        def __init__(self) -> None:
            self.marks: list[float] = []

        def on_trial_result(self, *args: object, **words: object) -> None:
            self.marks.append(time.process_time())

    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(10**9)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "2"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100_000_000,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
    )
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="dmu_search-driver-") as scratch:
        tune.run(
            Nothing,
            config={"rate": tune.uniform(0.0, 1.0)},
            num_samples=trials,
            resources_per_trial={"cpu": 1},
            storage_path=scratch,
            callbacks=[clock],
            reuse_actors=True,
            verbose=0,
        )
    marks = clock.marks[SKIPPED - 1 :]
    return 1000 * (marks[-1] - marks[0]) / (len(marks) - 1)


if __name__ == "__main__":
    main()
