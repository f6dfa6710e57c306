"""How long a search takes from Enter to its first epoch, and to its end.

    python benchmarks/startup.py [--tree FOLDER ..] [--tasks adding polymusic] [--rounds 5]
                                 [--words tracking.uri=none ..]

Several checkouts take turns, so that they share whatever else the machine does; its load is printed
beside each round. CPU time is that of all processes until the first epoch, Ray's and MLflow's
included, seen from outside every tenth of a second. Linux only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

WORDS = {
    "adding": ["task=adding", "data.batches_per_epoch=5"],
    "polymusic": ["task=polymusic", "data.corpus=demo", "data.limit=8"],
}
SMALL = ("search.trials=2", "training.max_epochs=2", "resources.cpus=2")


@dataclass(frozen=True)
class Search:
    """What a search of two trials took, from the start of its process.

    Attributes:
        word_s: until it said something.
        header_s: until its header was on the screen.
        trial_s: until its first trial had a process.
        epoch_s: until an epoch was in its journal.
        last_s: until the last epoch was.
        end_s: until its process had ended.
        cpu_s: CPU time of all processes until the first epoch.
    """

    word_s: float
    header_s: float
    trial_s: float
    epoch_s: float
    last_s: float
    end_s: float
    cpu_s: float


HEADS = "first word", "header", "first trial", "first epoch", "last epoch", "exit", "CPU"


def main() -> None:
    """Print a row for each round, task and checkout, then the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    own = Path(__file__).parents[1]
    parser.add_argument("--tree", nargs="+", type=Path, default=[own], help="checkouts")
    parser.add_argument("--tasks", nargs="+", choices=WORDS, default=list(WORDS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--words", nargs="+", default=[], help="further settings")
    given = parser.parse_args()
    print(f"| checkout | task | load | {' | '.join(f'{head}, s' for head in HEADS)} |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for task in given.tasks:
        found: dict[Path, list[Search]] = {tree: [] for tree in given.tree}
        # The first builds the native loop, and reads all files once.
        for number in range(given.rounds + 1):
            for tree, rows in found.items():
                row = search(tree, [*WORDS[task], *SMALL, *given.words])
                if number:
                    rows.append(row)
                    print_row(tree.name, task, f"{os.getloadavg()[0]:.1f}", astuple(row))
        print_medians(found, task)


def print_medians(found: dict[Path, list[Search]], task: str) -> None:
    """Print the medians of each checkout, and what share of the first's the others take."""
    medians = {
        tree: [statistics.median(column) for column in zip(*map(astuple, rows), strict=True)]
        for tree, rows in found.items()
    }
    first = next(iter(medians.values()))
    for tree, row in medians.items():
        print_row(f"**{tree.name}, median**", task, "", row)
        if row is not first:
            shares = [now / before for now, before in zip(row, first, strict=True)]
            print_row(f"{tree.name} / {next(iter(medians)).name}", task, "", shares, digits=2)


def print_row(
    name: str, task: str, load: str, values: tuple[float, ...] | list[float], *, digits: int = 1
) -> None:
    """Print a row of a Markdown table."""
    cells = " | ".join(f"{value:.{digits}f}" for value in values)
    print(f"| {name} | {task} | {load} | {cells} |", flush=True)


def search(tree: Path, words: list[str]) -> Search:
    """Run a search of a checkout and look at it from outside."""
    with tempfile.TemporaryDirectory(prefix="dmu_search-startup-") as scratch:
        runs = Path(scratch) / "runs"
        words = [*words, "name=a", f"output_dir={runs}"]
        began = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "dmu_search", "tune", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree.resolve())},
        )
        assert process.stdout is not None, "it was started with a pipe"
        used: list[tuple[float, float]] = []
        threading.Thread(target=watch, args=(process, used), daemon=True).start()
        lines = [(time.time() - began, line) for line in process.stdout]
        if process.wait():
            said = b"".join(line for _, line in lines).decode()
            raise SystemExit(f"{tree}: ended with {process.returncode}\n{said}")
        end = time.time() - began
        epochs = [at - began for at in times(runs / "studies" / "a" / "journal.jsonl", "result")]
        trials = [
            at - began
            for record in (runs / "records").glob("a?*.jsonl")
            for at in times(record, "start")
        ]
        return Search(
            word_s=lines[0][0],
            header_s=next(at for at, line in lines if line.startswith(b"folder")),
            trial_s=min(trials),
            epoch_s=epochs[0],
            last_s=epochs[-1],
            end_s=end,
            cpu_s=max(cpu for at, cpu in used if at - began <= epochs[0]),
        )


def times(path: Path, kind: str) -> Iterator[float]:
    """When the events of a kind were written, in seconds since 1970."""
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["event"] == kind:
            yield event["time_ms"] / 1000


def watch(process: subprocess.Popen[bytes], used: list[tuple[float, float]]) -> None:
    """Note when, and how much CPU time a process and all below it have used, until it ends."""
    most: dict[str, float] = {}
    while process.poll() is None:
        stats = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                stats[path.parent.name] = path.read_text().rpartition(")")[2].split()
        below = {str(process.pid)}
        # A process is listed after its parent, but for numbers that begin again.
        for pid in sorted(stats, key=int):
            if stats[pid][1] in below:
                below.add(pid)
        for pid in below & stats.keys():
            ticks = int(stats[pid][11]) + int(stats[pid][12])
            most[pid] = ticks / os.sysconf("SC_CLK_TCK")
        used.append((time.time(), sum(most.values())))
        time.sleep(0.1)


if __name__ == "__main__":
    main()
