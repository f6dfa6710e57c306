"""Records our table of recurrent networks: see benchmarks/tables/README.md.

python benchmarks/record_table.py --work FOLDER [--parts adding-dmu,..] [--pack]

Trains setting after setting on one thread and writes each to FOLDER as it ends, so that the same
command resumes the recording. A new FOLDER begins with what benchmarks/tables holds. --pack trains
nothing: it writes what FOLDER holds to benchmarks/tables.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

# One thread everywhere, also in libraries that look before torch can tell them.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import torch
from simulation.recordings import RECORDINGS, Curves, Recording, line_of, train
from simulation.tables import ABOUT, TABLES, Table, write_part

from dmu_search.folders import write_whole


def main() -> int:
    """Record what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of finished settings")
    parser.add_argument("--parts", default=",".join(RECORDINGS), help="which, of the default")
    parser.add_argument("--pack", action="store_true", help="write the table")
    words = parser.parse_args()
    torch.set_num_threads(1)
    recordings = [RECORDINGS[name] for name in words.parts.split(",")]
    if words.pack:
        for each in recordings:
            lines = read_lines(words.work / f"{each.name}.jsonl")
            write_part(TABLES / each.name, each.about(), lines=lines)
            print(f"{each.name}: {len(lines)} settings")
        return 0
    words.work.mkdir(parents=True, exist_ok=True)
    record(recordings, words.work)
    return 0


def record(recordings: list[Recording], folder: Path) -> None:
    """Train what is missing, all parts taking turns, so that all grow alike."""
    work = {each.name: list(enumerate(each.drawn())) for each in recordings}
    tasks = {each.name: each.make_task() for each in recordings}
    done = {}
    for each in recordings:
        file = folder / f"{each.name}.jsonl"
        if not file.exists():
            begin_with_table(file, each)
        drop_cut_off(file)
        lines = read_lines(file)
        done[each.name] = {line["setting"] for line in lines}
    for turn in range(max(map(len, work.values()))):
        for each in recordings:
            if turn >= len(work[each.name]) or turn in done[each.name]:
                continue
            number, (source, values) = work[each.name][turn]
            line = line_of(
                number, source, values=values, curves=train(each, tasks[each.name], values=values)
            )
            append(folder / f"{each.name}.jsonl", line)
        if turn % 10 == 0:
            print(f"{turn + 1} settings of each part", flush=True)


def begin_with_table(file: Path, recording: Recording) -> None:
    """Write the settings that the table holds already, if they were recorded alike."""
    about = TABLES / recording.name / ABOUT
    if not about.exists() or json.loads(about.read_text()) != recording.about():
        return
    lines = [
        line_of(
            each.number,
            each.source,
            values=each.values,
            curves=Curves(tuple(map(tuple, each.losses.tolist())), each.seconds_per_epoch),
        )
        for each in Table(recording.name).settings
    ]
    write_whole(file, "".join(json.dumps(line) + "\n" for line in lines).encode())


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The settings that a file holds, without a last one that is being written."""
    if not file.exists():
        return []
    content = file.read_bytes()
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def drop_cut_off(file: Path) -> None:
    """Remove a last line that a kill cut off, so that the next one begins a line."""
    if file.exists():
        content = file.read_bytes()
        os.truncate(file, content.rfind(b"\n") + 1)


def append(file: Path, line: dict[str, object]) -> None:
    """Write one finished setting; it is on disk when this returns."""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(line, allow_nan=False) + "\n")
        opened.flush()
        os.fsync(opened.fileno())


if __name__ == "__main__":
    sys.exit(main())
