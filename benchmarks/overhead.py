"""What a search costs besides training: seconds until its header, first epoch and end, and CPU.

python benchmarks/overhead.py [--tree FOLDER ..] [--rounds 3] [--trials 4] [--epochs 250]

Several checkouts of this project take turns, so that they share whatever else the machine does; its
load is printed beside each round. Linux only.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path

WORDS = (
    "task=adding",
    "data.length=12",
    "data.batches_per_epoch=1",
    "search.scheduler=none",
    "search.sampler=random",
    "resources.cpus=2",
    "resources.object_store_mb=100",
)
_LOOK_EVERY_S = 0.05
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Search:
    """What one search took.

    Attributes:
        header_s: until its header was on the screen.
        epoch_s: until an epoch was on record.
        end_s: until its process had ended.
        cpu_s: CPU time of its own process, without Ray's processes.
        cpu_ms: the same per epoch after the first.
    """

    header_s: float
    epoch_s: float
    end_s: float
    cpu_s: float
    cpu_ms: float


def main() -> None:
    """Print a row for each round and checkout, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    own = Path(__file__).parents[1]
    parser.add_argument("--tree", nargs="+", type=Path, default=[own], help="checkouts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=4, help="of the long search")
    parser.add_argument("--epochs", type=int, default=250, help="of each of four trials")
    arguments = parser.parse_args()
    for tree in arguments.tree:
        # Builds the native loop, and reads all files once.
        search(tree, trials=1, epochs=1)
    heads = "checkout", "load", "header, s", "first epoch, s", "exit, s", "CPU, s", "per epoch, ms"
    print(f"| {' | '.join(heads)} |")
    print("|---|---|---|---|---|---|---|")
    found: dict[Path, list[Search]] = {tree: [] for tree in arguments.tree}
    for _ in range(arguments.rounds):
        for tree in arguments.tree:
            short = search(tree, trials=1, epochs=1)
            long = search(tree, trials=arguments.trials, epochs=arguments.epochs)
            both = replace(short, cpu_ms=long.cpu_ms)
            found[tree].append(both)
            print_row(tree.name, f"{os.getloadavg()[0]:.1f}", both)
    for tree, rows in found.items():
        columns = zip(*map(astuple, rows), strict=True)
        print_row(f"**{tree.name}, median**", "", Search(*map(statistics.median, columns)))


def print_row(name: str, load: str, row: Search) -> None:
    """Print what a search took."""
    seconds = f"{row.header_s:.1f} | {row.epoch_s:.1f} | {row.end_s:.1f}"
    print(f"| {name} | {load} | {seconds} | {row.cpu_s:.1f} | {row.cpu_ms:.1f} |", flush=True)


def search(tree: Path, *, trials: int, epochs: int) -> Search:
    """Run a search of a checkout and look at it from outside."""
    with tempfile.TemporaryDirectory(prefix="dmu_search-overhead-") as scratch:
        folder = Path(scratch)
        screen = folder / "screen.log"
        words = [*WORDS, f"search.trials={trials}", f"training.max_epochs={epochs}"]
        began = time.monotonic()
        with screen.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dmu_search", "tune", *words, f"output_dir={folder / 'r'}"],
                stdout=log,
                stderr=log,
                cwd=tree,
                env=os.environ | {"PYTHONPATH": str(tree.resolve())},
            )
        header = epoch = first_cpu = None
        first_results = results = 0
        cpu = 0.0
        for cpu in cpu_seconds(process):
            now = time.monotonic() - began
            if header is None and b"\nfolder " in screen.read_bytes():
                header = now
            if header is not None and epoch is None:
                results = recorded(folder / "r")
            if epoch is None and results:
                epoch, first_cpu, first_results = now, cpu, results
        end = time.monotonic() - began
        if process.returncode or header is None or epoch is None or first_cpu is None:
            raise SystemExit(f"{tree}: ended with {process.returncode}\n{screen.read_text()}")
        results = recorded(folder / "r")
    per_epoch_s = (cpu - first_cpu) / max(1, results - first_results)
    return Search(header, epoch, end, cpu, 1000 * per_epoch_s)


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


if __name__ == "__main__":
    main()
