"""Records our table of recurrent networks: see benchmarks/tables/README.md.

python benchmarks/record_table.py --work FOLDER [--parts adding-dmu,..]

Trains setting after setting on one thread and writes each to FOLDER as it ends, so that the same
command resumes the recording.
"""

import argparse
import json
import os
import sys
from pathlib import Path

# One thread everywhere, also in libraries that look before torch can tell them.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import torch
from simulation.recordings import RECORDINGS, Recording, line_of, train


def main() -> int:
    """Record what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of finished settings")
    parser.add_argument("--parts", default=",".join(RECORDINGS), help="which, of the default")
    words = parser.parse_args()
    torch.set_num_threads(1)
    words.work.mkdir(parents=True, exist_ok=True)
    record([RECORDINGS[name] for name in words.parts.split(",")], words.work)
    return 0


def record(recordings: list[Recording], folder: Path) -> None:
    """Train what is missing, all parts taking turns, so that all grow alike."""
    work = {each.name: list(enumerate(each.drawn())) for each in recordings}
    tasks = {each.name: each.make_task() for each in recordings}
    done = {each.name: finished(folder / f"{each.name}.jsonl") for each in recordings}
    for turn in range(max(map(len, work.values()))):
        for each in recordings:
            if turn >= len(work[each.name]) or turn in done[each.name]:
                continue
            number, (source, values) = work[each.name][turn]
            line = line_of(number, source, values, train(each, tasks[each.name], values))
            append(folder / f"{each.name}.jsonl", line)
        if turn % 10 == 0:
            print(f"{turn + 1} settings of each part", flush=True)


def finished(file: Path) -> set[int]:
    """Numbers of the settings that a file holds; a line cut off by a kill is removed."""
    if not file.exists():
        return set()
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        file.write_bytes(whole)
    return {json.loads(line)["setting"] for line in whole.splitlines()}


def append(file: Path, line: dict[str, object]) -> None:
    """Write one finished setting; it is on disk when this returns."""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(line, allow_nan=False) + "\n")
        opened.flush()
        os.fsync(opened.fileno())


if __name__ == "__main__":
    sys.exit(main())
