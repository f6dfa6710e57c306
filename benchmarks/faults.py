"""Studies that are killed, starved of disk, raced and damaged, and what becomes of them.

python benchmarks/faults.py [--kills 40] [--studies 8] [--disks 5] [--pairs 10] [--damages 10]
    [--seed 0]

Real studies under a real Ray into a real MLflow store, one after the other. It ends only processes
that it started itself, each by its id. Exits with 1 if anything was lost, repeated, duplicated or
missing, or a command ended in another way than it should.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mlflow import MlflowClient

from dmu_search.errors import StorageError
from dmu_search.study.journal import read_journal
from dmu_search.study.trials import StudyState, TrialState
from dmu_search.tracking.trial_runs import STATUS_OF_RUN

TRIALS = 6
SMALL = (
    "search.page=false",
    "task=adding",
    "data.length=12",
    "data.batches_per_epoch=60",
    f"search.trials={TRIALS}",
    "search.max_concurrent=2",
    "resources.cpus=2",
    "resources.object_store_mb=100",
)
SHORT = (*SMALL, "training.max_epochs=40", "search.checkpoint_every_s=1")
# So long that kills find them at work, and with many epochs between two checkpoints.
LONG = (*SMALL, "training.max_epochs=80", "search.checkpoint_every_s=4")
# A trial whose process is lost a third time has failed, as it should.
WORKERS_PER_STUDY = 2
# A command that takes longer than this has come to a stand.
LONGEST_S = 600.0


@dataclass
class Tally:
    """What was seen over all studies."""

    rows: list[dict[str, object]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, kind: str, **counts: object) -> None:
        """Keep a row and say it."""
        self.rows.append({"kind": kind, **counts})
        print(json.dumps(self.rows[-1]), flush=True)

    def check(self, holds: bool, what: str) -> None:
        """Keep what went wrong."""
        if not holds:
            self.faults.append(what)
            print(f"FAULT {what}", flush=True)


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("kills", 40), ("studies", 8), ("disks", 5), ("pairs", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--damages", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    tally, rng = Tally(), random.Random(words.seed)
    with tempfile.TemporaryDirectory(prefix="dmu_search-faults-") as scratch:
        folder = Path(scratch)
        left = words.kills
        for number in range(words.studies):
            share = -(-left // (words.studies - number))
            left -= killed_study(folder / f"kills-{number}", share, rng, tally)
        for number in range(words.disks):
            full_disk(folder / f"disk-{number}", rng, tally)
        for number in range(words.pairs):
            two_writers(folder / f"pair-{number}", tally)
        if words.damages:
            damaged(folder / "damages", words.damages, rng, tally)
    summarise(tally)
    return 1 if tally.faults else 0


def summarise(tally: Tally) -> None:
    """Print a table of all kinds."""
    heads = "fault", "times", "lost", "repeated", "twice in MLflow", "missing in MLflow"
    print(f"\n| {' | '.join(heads)} | epochs redone |\n|---|---|---|---|---|---|---|")
    for kind in dict.fromkeys(row["kind"] for row in tally.rows):
        rows = [row for row in tally.rows if row["kind"] == kind]
        total = {
            name: sum(int(str(row.get(name, 0))) for row in rows)
            for name in ("times", "lost", "repeated", "twice", "missing")
        }
        redone = [each for row in rows for each in row.get("redone", ())]  # type: ignore[attr-defined]
        text = (
            f"median {statistics.median(redone):g}, worst {max(redone)}, {len(redone)} trials"
            if redone
            else ""
        )
        print(f"| {kind} | {' | '.join(str(total[name]) for name in total)} | {text} |")
    print(f"\n{len(tally.faults)} faults")
    for fault in tally.faults:
        print(f"  {fault}")


# --- kills -------------------------------------------------------------------------------------


VICTIMS = ("driver", "worker", "raylet")
# How a command may end after each; a study may be over when its raylet is killed.
ENDS = {"driver": (-signal.SIGKILL,), "raylet": (0, 1), "worker": (0,)}


def killed_study(folder: Path, kills: int, rng: random.Random, tally: Tally) -> int:
    """One study, killed again and again and resumed by the same command; returns the kills.

    They are fewer than asked for where the study is over before.
    """
    before, redone = len(tally.rows), list[int]()
    while len(tally.rows) - before < kills and not over(folder):
        with command(folder, words=LONG) as process:
            left = kills + before - len(tally.rows)
            redone += killed_command(process, folder, left, rng, tally)
    with command(folder, words=LONG) as process:
        code = finish(process, time.monotonic())
    tally.check(
        code == 0, f"{folder.name}: the last resume ended with {code}: {end_of(said(folder))!r}"
    )
    done = len(tally.rows) - before
    tally.add("all kills", times=done, redone=redone, **count(folder, tally))
    return done


def killed_command(
    process: subprocess.Popen[bytes], folder: Path, kills: int, rng: random.Random, tally: Tally
) -> list[int]:
    """Kill what belongs to one command until it ends; returns the epochs that are trained again.

    One kill in five comes while the command starts.
    """
    redone, made, early = list[int](), 0, rng.random() < 0.2
    while made < kills and process.poll() is None:
        if not early:
            wait_for_result(process, folder)
        time.sleep(rng.uniform(0.0, 8.0))
        family = descendants(process.pid)
        spare = early or count_events(folder, "retry") >= WORKERS_PER_STUDY
        victim = rng.choice([each for each in VICTIMS if each != "worker" or not spare])
        target = pick(victim, process.pid, family, rng)
        if target is None or process.poll() is not None:
            continue
        made += 1
        tally.add(f"{victim} killed", times=1)
        if victim == "worker":
            redone += kill_worker(target, process, folder)
            continue
        os.kill(target, signal.SIGKILL)
        check_end(process, folder, victim, tally)
        end_leftovers(family)
        return redone + epochs_redone(folder)
    check_end(process, folder, "worker", tally)
    return redone


def kill_worker(target: int, process: subprocess.Popen[bytes], folder: Path) -> list[int]:
    """Kill a carrier and wait until its trial is tried again."""
    before = count_events(folder, "retry")
    os.kill(target, signal.SIGKILL)
    wait_for(lambda: count_events(folder, "retry") > before or process.poll() is not None)
    return retried(folder, before)


def wait_for_result(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the study has one more result."""
    before = results(folder)
    wait_for(lambda: results(folder) > before or process.poll() is not None)


def check_end(process: subprocess.Popen[bytes], folder: Path, victim: str, tally: Tally) -> None:
    """How a command ended, and what it said of it."""
    code = finish(process, time.monotonic())
    if code == 1:
        # Where Ray's C++ ended the process, what is said of it comes a moment later.
        wait_for(lambda: b"error: " in said(folder), longest_s=10.0)
    text = said(folder)
    what = f"{folder.name}: {victim} killed, ended with {code}: {end_of(text)!r}"
    tally.check(code in ENDS[victim], what)
    tally.check(b"Traceback" not in text, f"a traceback; {what}")
    tally.check(code != 1 or b"error: " in text, f"no error was said; {what}")


def pick(victim: str, driver: int, family: list[int], rng: random.Random) -> int | None:
    """A process of the study to kill; None if there is none of the kind."""
    if victim == "driver":
        return driver
    mark = "raylet/raylet" if victim == "raylet" else "ray::"
    names = {pid: name_of(pid) for pid in family}
    found = [
        pid
        for pid, name in names.items()
        if mark in name and (victim == "raylet" or "Trainable" in name or "TrainingTrial" in name)
    ]
    return rng.choice(found) if found else None


def over(folder: Path) -> bool:
    """Whether every trial of a study has ended."""
    trials = state_of(folder).trials.values()
    return len(trials) == TRIALS and all(trial.status != "open" for trial in trials)


def count_events(folder: Path, kind: str) -> int:
    """Events of a kind in the journal so far."""
    path = journal(folder)
    return path.read_bytes().count(f'"event": "{kind}"'.encode()) if path.exists() else 0


def state_of(folder: Path) -> StudyState:
    """What the journal says; nothing before it is there."""
    path = journal(folder)
    return StudyState.of(read_journal(path)) if path.exists() else StudyState()


def since_checkpoint(trial: TrialState) -> int:
    """Epochs that a trial trains once more when it is resumed."""
    return trial.epoch - max((each.epoch for each in trial.checkpoints), default=0)


def epochs_redone(folder: Path) -> list[int]:
    """Of each open trial that had begun."""
    trials = state_of(folder).trials.values()
    return [since_checkpoint(each) for each in trials if each.status == "open" and each.epoch]


def retried(folder: Path, before: int) -> list[int]:
    """The same of each trial that is tried again in the journal, after ``before`` of these."""
    state, found = StudyState(), list[int]()
    for event in read_journal(journal(folder)):
        if event["event"] == "retry":
            found.append(since_checkpoint(state.trials[event["trial"]]))
        state.apply(event)
    return found[before:]


# --- disks, pairs, damage ----------------------------------------------------------------------


def full_disk(folder: Path, rng: random.Random, tally: Tally) -> None:
    """A study on a small disk that fills up; with space again it is resumed."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        print("full disks left out: no small disk can be mounted here (it needs root)", flush=True)
        return
    try:
        with command(folder, "search.min_free_mb=0") as process:
            wait_for(lambda: results(folder) >= rng.randint(1, 60) or process.poll() is not None)
            with contextlib.suppress(OSError), (folder / "filler").open("wb") as filler:
                while True:
                    filler.write(b"x" * 65536)
                    filler.flush()
            code = finish(process, time.monotonic())
        text = said(folder)
        tally.check(code == 1, f"{folder.name}: a full disk ended with {code}: {end_of(text)!r}")
        tally.check(b"Traceback" not in text, f"{folder.name}: a full disk gave a traceback")
        tally.check(
            b"To resume:" in text, f"{folder.name}: no way to resume was said: {end_of(text)!r}"
        )
        (folder / "filler").unlink()
        with command(folder, "search.min_free_mb=0") as process:
            code = finish(process, time.monotonic())
        tally.check(
            code == 0, f"{folder.name}: the resume ended with {code}: {end_of(said(folder))!r}"
        )
        tally.add("full disk", times=1, **count(folder, tally))
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def two_writers(folder: Path, tally: Tally) -> None:
    """The same command twice at a time: one has the study, the other says so."""
    with command(folder) as first:
        wait_for(lambda: results(folder) >= 1 or first.poll() is not None)
        with command(folder, log="second.log") as second:
            code = finish(second, time.monotonic())
        text = said(folder, "second.log")
        tally.check(
            code == 2, f"{folder.name}: the second writer ended with {code}: {end_of(text)!r}"
        )
        tally.check(
            b"is in use by process" in text, f"{folder.name}: the second said {end_of(text)!r}"
        )
        code = finish(first, time.monotonic())
    tally.check(code == 0, f"{folder.name}: the first writer ended with {code}")
    tally.add("two writers", times=1, **count(folder, tally))


def damaged(folder: Path, times: int, rng: random.Random, tally: Tally) -> None:
    """A study is interrupted; copies of it are damaged, each in its own way, and resumed."""
    with command(folder) as process:
        wait_for(lambda: results(folder) >= 50 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        finish(process, time.monotonic())
    kinds: list[tuple[str, Callable[[Path], None]]] = [
        ("journal cut in its last line", lambda copy: cut(journal(copy), rng, last=True)),
        ("checkpoint cut", lambda copy: cut(newest_checkpoint(copy), rng)),
        ("checkpoint deleted", lambda copy: newest_checkpoint(copy).unlink()),
        ("settings deleted", lambda copy: (journal(copy).parent / "study.yaml").unlink()),
        ("mirror damaged", lambda copy: scramble(journal(copy).parent / "optuna.journal")),
        ("mirror deleted", lambda copy: (journal(copy).parent / "optuna.journal").unlink()),
        ("record cut in its last line", lambda copy: cut(a_record(copy), rng, last=True)),
        ("record deleted", lambda copy: a_record(copy).unlink()),
        ("lock left behind", lambda copy: (journal(copy).parent / ".lock").write_text("who?\n")),
        ("journal damaged inside", lambda copy: scramble(journal(copy))),
    ]
    for number in range(times):
        kind, spoil = kinds[number % len(kinds)]
        copy = folder.with_name(f"damage-{number}")
        shutil.copytree(folder, copy)
        spoil(copy)
        with command(copy) as process:
            code = finish(process, time.monotonic())
        text = said(copy)
        tally.check(b"Traceback" not in text, f"{kind}: a traceback: {end_of(text)!r}")
        if code == 2:
            # Said in a sentence, with the way out; the way out has to work.
            tally.check(b"doctor" in text, f"{kind}: no way out was said: {end_of(text)!r}")
            doctor = ["doctor", "study=mine", f"output_dir={copy}"]
            mend = subprocess.run([*PROGRAM, *doctor], capture_output=True, timeout=LONGEST_S)
            tally.check(mend.returncode == 0, f"{kind}: doctor ended with {mend.returncode}")
            with command(copy) as process:
                code = finish(process, time.monotonic())
        tally.check(code == 0, f"{kind}: the resume ended with {code}: {end_of(said(copy))!r}")
        with contextlib.suppress(StorageError):
            tally.add(f"damage: {kind}", times=1, **count(copy, tally))
        shutil.rmtree(copy)


def cut(path: Path, rng: random.Random, *, last: bool = False) -> None:
    """Take the end of a file away; with ``last``, part of its last line only."""
    content = path.read_bytes()
    begin = content[:-1].rfind(b"\n") + 2 if last else 1
    path.write_bytes(content[: rng.randint(begin, len(content) - 1)])


def scramble(path: Path) -> None:
    """Write over a line in the middle of a file."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[len(lines) // 2] = b"\xff\x00 no line\n"
    path.write_bytes(b"".join(lines))


def newest_checkpoint(folder: Path) -> Path:
    """Of an open trial."""
    state = state_of(folder)
    files = [
        each.file for t in state.trials.values() if t.status == "open" for each in t.checkpoints
    ]
    return journal(folder).parent / "checkpoints" / files[-1]


def a_record(folder: Path) -> Path:
    """The record of a trial."""
    return min((folder / "records").glob("mine.*.jsonl"))


# --- what became of a study --------------------------------------------------------------------


def count(folder: Path, tally: Tally) -> dict[str, int]:
    """Trials and epochs lost or repeated, runs and points twice or missing in MLflow."""
    events = read_journal(journal(folder))
    state = StudyState.of(events)
    name = folder.name
    epochs = Counter((e["trial"], e["epoch"]) for e in events if e["event"] == "result")
    restarts = sum(event["event"] == "restart" for event in events)
    lost = TRIALS - sum(
        trial.status in ("finished", "stopped early") for trial in state.trials.values()
    )
    repeated = sum(times - 1 for times in epochs.values()) + restarts
    for trial in state.trials.values():
        tally.check(
            sorted(trial.objectives) == list(range(1, trial.epoch + 1)),
            f"{name}: trial {trial.number} lacks epochs",
        )
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = [
        run
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id])
        if "trial_number" in run.data.tags
    ]
    numbers = Counter(int(run.data.tags["trial_number"]) for run in runs)
    twice = sum(times - 1 for times in numbers.values())
    missing = len(state.trials.keys() - numbers.keys())
    for run in runs:
        trial = state.trials[int(run.data.tags["trial_number"])]
        own = trial.objectives
        for metric in run.data.metrics:
            history = client.get_metric_history(run.info.run_id, metric)
            # What is best so far is said of the last epoch as well as of the run.
            if not metric.startswith("best_"):
                steps = Counter(point.step for point in history)
                twice += sum(times - 1 for times in steps.values())
            if metric == "objective":
                missing += len(own.keys() - steps.keys())
        status = STATUS_OF_RUN[trial.status]
        tally.check(run.info.status == status, f"{name}: a run is {run.info.status}")
    best = state.best("minimize")
    exported = (journal(folder).parent / "best.yaml").read_text(encoding="utf-8")
    tally.check(best is not None and f"{best.objective}" in exported, f"{name}: best.yaml is wrong")
    tally.check(lost == 0, f"{name}: {lost} trials lost")
    tally.check(repeated == 0, f"{name}: {repeated} epochs repeated in the journal")
    tally.check(twice == 0, f"{name}: {twice} runs or points twice in MLflow")
    tally.check(missing == 0, f"{name}: {missing} runs or points missing in MLflow")
    return {"lost": lost, "repeated": repeated, "twice": twice, "missing": missing}


# --- processes ---------------------------------------------------------------------------------

PROGRAM = (sys.executable, "-m", "dmu_search")


@contextlib.contextmanager
def command(
    folder: Path, *more: str, words: Sequence[str] = SHORT, log: str = "screen.log"
) -> Iterator[subprocess.Popen[bytes]]:
    """The one command that begins and resumes the study of ``folder``, in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["tune", *words, *more, "resume=auto", "name=mine", f"output_dir={folder}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with (folder / log).open("wb") if folder.is_dir() else contextlib.nullcontext() as screen:
        process = subprocess.Popen(
            [*PROGRAM, *words],
            stdout=screen,
            stderr=screen,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                family = descendants(process.pid)
                process.kill()
                process.wait()
                end_leftovers(family)


def finish(process: subprocess.Popen[bytes], began: float) -> int:
    """Wait for a command; one that has come to a stand is ended, and counts as -999."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(timeout=max(1.0, LONGEST_S - (time.monotonic() - began)))
    return -999


def wait_for(holds: Callable[[], bool], *, longest_s: float = LONGEST_S) -> None:
    """Look ten times a second until it holds, at most as long as a command may take."""
    deadline = time.monotonic() + longest_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and that those started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            own, rest = stat.read_text().split(" (", 1)
            children.setdefault(int(rest.rsplit(") ", 1)[1].split()[1]), []).append(int(own))
    found, waiting = [], [pid]
    while waiting:
        more = children.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


def name_of(pid: int) -> str:
    """The command line of a process; empty if it is gone."""
    with contextlib.suppress(OSError):
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    return ""


def end_leftovers(family: list[int]) -> None:
    """End what a killed driver left; Ray ends most of it by itself within seconds."""
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and "ray" in name_of(pid) for pid in family):
        if time.monotonic() > deadline:
            for pid in family:
                if "ray" in name_of(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.2)


def journal(folder: Path) -> Path:
    """Of the study of ``folder``."""
    return folder / "studies" / "mine" / "journal.jsonl"


def results(folder: Path) -> int:
    """Epochs in the journal so far."""
    path = journal(folder)
    return path.read_bytes().count(b'"event": "result"') if path.exists() else 0


def said(folder: Path, log: str = "screen.log") -> bytes:
    """What the last command of the study printed."""
    return (folder / log).read_bytes()


def end_of(text: bytes) -> str:
    """The last words of a screen, for a line of faults."""
    return " ".join(text.decode(errors="replace").replace("\u2500", "").split())[-400:]


if __name__ == "__main__":
    sys.exit(main())
