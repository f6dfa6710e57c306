"""Most memory that a training of PolyMusic holds, each network in its own process: see README.md.

python benchmarks/memory.py [--replicas N]
"""

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path

# Both must be set before the libraries are loaded; the package beside this folder is measured.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from dmu_search.data.loading import load_data, make_task
from dmu_search.engine.training.trainer import Trainer
from dmu_search.retraining.sources import sourced


def main() -> None:
    """Print a row for each model and depth of the paper, of which one is named in a process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--only", nargs=2, metavar=("MODEL", "DEPTH"))
    arguments = parser.parse_args()
    if arguments.only:
        measure(arguments.only[0], int(arguments.only[1]), arguments.replicas)
        return
    print("| model | depth | replicas | before the network, MB | peak, MB |\n|---|---|---|---|---|")
    for model in ("dmu", "rhn"):
        for depth in ("1", "2", "5", "10"):
            words = [sys.executable, __file__, "--replicas", str(arguments.replicas)]
            subprocess.run([*words, "--only", model, depth], check=True)


def measure(model: str, depth: int, replicas: int) -> None:
    """Train an epoch, validate, and print the most that the process has held, on Linux."""
    torch.set_num_threads(1)
    given = {"training.replicas": replicas}
    setting = sourced(
        "paper", "polymusic", model=model, depth=depth, output_dir=Path("runs"), given=given
    )
    assert setting is not None, "the paper has both models at these depths"
    task = make_task("polymusic", load_data("polymusic", setting.run.data))
    before = peak_mb()
    Trainer(task, setting.run.network, training=setting.run.training).run_epoch()
    print(f"| {model} | {depth} | {replicas} | {before:.0f} | {peak_mb():.0f} |", flush=True)


def peak_mb() -> float:
    """Most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
