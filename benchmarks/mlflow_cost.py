"""What MLflow costs the process that searches: ours beside Ray's callback, on SQLite and a server.

python benchmarks/mlflow_cost.py [--trials 100] [--epochs 2] [--rounds 3] [--grow 1000 3000 10000]

Both sides are driven with the same results of trials that nobody trains, four at a time, without a
pause, in a process of their own each. CPU time is that of this process alone, until the last result
is taken; what MLflow gets is counted afterwards. ``--grow`` does ours with more and more trials.
Linux only.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

AT_A_TIME = 4
EXPERIMENT = "dmu_search"


def main() -> None:
    """Print a row for each side, store and round, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grow", type=int, nargs="*", default=[])
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.side:
        print(json.dumps(SIDES[words.side](words.uri, words.trials, words.epochs)))
    elif words.grow:
        grow(words.grow, words.epochs)
    else:
        compare(words.trials, words.epochs, words.rounds)


def compare(trials: int, epochs: int, rounds: int) -> None:
    """Both sides on both stores, in turn."""
    print("| store | writer | load | CPU, ms per result | wall, ms per result | points missing |")
    print("|---|---|---|---|---|---|", flush=True)
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for store in ("SQLite", "server"):
            for side in SIDES:
                with tempfile.TemporaryDirectory(prefix="dmu_search-cost-") as scratch:
                    row = measured(side, store, Path(scratch), trials, epochs)
                found.setdefault((store, side), []).append(row["cpu_ms"])
                print_row(store, side, row)
    for (store, side), costs in found.items():
        print(f"{store}, {side}: median {statistics.median(costs):.3g} ms per result")
    for store in ("SQLite", "server"):
        ours, theirs = (statistics.median(found[store, side]) for side in SIDES)
        print(f"{store}: Ray's callback costs {theirs / ours:.0f} times ours")


def grow(counts: list[int], epochs: int) -> None:
    """Ours with more and more trials, on SQLite."""
    print("| trials | load | CPU, ms per result | until MLflow has all, s | points missing |")
    print("|---|---|---|---|---|", flush=True)
    for trials in counts:
        with tempfile.TemporaryDirectory(prefix="dmu_search-cost-") as scratch:
            row = measured("ours", "SQLite", Path(scratch), trials, epochs)
        cells = f"{trials} | {load()} | {row['cpu_ms']:.3g} | {row['all_s']:.0f}"
        print(f"| {cells} | {row['missing']:.0f} |", flush=True)


def print_row(store: str, side: str, row: dict[str, float]) -> None:
    """Print what a side took."""
    cells = f"{store} | {side} | {load()} | {row['cpu_ms']:.3g} | {row['wall_ms']:.3g}"
    print(f"| {cells} | {row['missing']:.0f} |", flush=True)


def load() -> str:
    """Of the machine at the moment."""
    return f"{os.getloadavg()[0]:.1f}"


def measured(side: str, store: str, folder: Path, trials: int, epochs: int) -> dict[str, float]:
    """Let a process of its own write the results, and count what MLflow has of them."""
    from mlflow import MlflowClient

    # Made before, so that nobody pays for it.
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    MlflowClient(uri).search_experiments(max_results=1)
    with served(uri, folder) if store == "server" else unserved(uri) as address:
        command = [sys.executable, __file__, "--side", side, "--uri", address]
        command += ["--trials", str(trials), "--epochs", str(epochs)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} on {store}: {done.stderr}")
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**row, "missing": trials * epochs - points(uri)}


def points(uri: str) -> int:
    """Results in MLflow, counted by one of their metrics; a point that is there twice counts so."""
    import sqlite3

    with sqlite3.connect(uri.removeprefix("sqlite:///")) as store:
        (count,) = store.execute("select count(*) from metrics where key = 'val_mse'").fetchone()
    return int(count)


@contextmanager
def unserved(uri: str) -> Iterator[str]:
    """A store that is written to directly."""
    yield uri


@contextmanager
def served(uri: str, folder: Path) -> Iterator[str]:
    """A server of a store, for a ``with`` block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/health")
        yield address
    finally:
        process.terminate()
        process.wait()


def wait_for(address: str) -> None:
    """Until a server answers."""
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"{address} never answered")


def metrics_of(trial: int, epoch: int) -> dict[str, float]:
    """As the Adding task gives them."""
    loss = 1.0 / (1 + trial + epoch)
    names = ("objective", "running_train_mse", "val_mse", "best_val_mse", "best_epoch")
    return {**dict.fromkeys(names, loss), "epoch_wall_time_s": 0.01 * loss}


def in_turns(trials: int, epochs: int) -> Iterator[tuple[int, int]]:
    """Trial and epoch (0 at its start) of a search with ``AT_A_TIME`` places."""
    for first in range(0, trials, AT_A_TIME):
        together = range(first, min(trials, first + AT_A_TIME))
        for epoch in range(epochs + 1):
            for trial in together:
                yield trial, epoch


def ours(uri: str, trials: int, epochs: int) -> dict[str, float]:
    """Records, which a process beside brings into MLflow."""
    from dmu_search.config.settings import TrackingSettings
    from dmu_search.records import RunStart
    from dmu_search.tracking import open_tracking

    with open_tracking(TrackingSettings(uri, EXPERIMENT), Path("runs")) as tracking:
        tracking.begin()
        recorder = tracking.recorder
        recorder.start(RunStart("s", "s", "study"))

        def begin(trial: int) -> None:
            recorder.start(
                RunStart(f"s.{trial:04d}", f"{trial}", "trial", parent_id="s", params={"rate": 0.1})
            )

        def take(trial: int, epoch: int) -> None:
            recorder.log(f"s.{trial:04d}", metrics_of(trial, epoch), step=epoch)
            tracking.news()
            if epoch == epochs:
                recorder.tag(f"s.{trial:04d}", {"outcome": "finished"})
                recorder.end(f"s.{trial:04d}", "FINISHED")

        row = timed(trials, epochs, begin, take)
        began = time.monotonic()
        recorder.end("s", "FINISHED")
        unsent = tracking.settle(24 * 3600.0)
        assert unsent is None, unsent
        return {**row, "all_s": time.monotonic() - began + row["wall_ms"] * trials * epochs / 1000}


def rays(uri: str, trials: int, epochs: int) -> dict[str, float]:
    """``MLflowLoggerCallback`` as Ray Tune calls it."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.experiment import Trial

    callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name=EXPERIMENT)
    callback.setup()
    known: dict[int, Trial] = {}

    def begin(trial: int) -> None:
        known[trial] = Trial("__fake", config={"rate": 0.1}, stub=True)
        callback.log_trial_start(known[trial])

    def take(trial: int, epoch: int) -> None:
        result = {**metrics_of(trial, epoch), "training_iteration": epoch, "timesteps_total": epoch}
        callback.log_trial_result(epoch, known[trial], result)
        if epoch == epochs:
            callback.log_trial_end(known[trial])

    return timed(trials, epochs, begin, take)


def timed(
    trials: int,
    epochs: int,
    begin: Callable[[int], None],
    take: Callable[[int, int], None],
) -> dict[str, float]:
    """CPU and wall time per result of this process."""
    cpu, wall = time.process_time(), time.monotonic()
    for trial, epoch in in_turns(trials, epochs):
        if epoch:
            take(trial, epoch)
        else:
            begin(trial)
    results = trials * epochs / 1000
    return {
        "cpu_ms": (time.process_time() - cpu) / results,
        "wall_ms": (time.monotonic() - wall) / results,
    }


SIDES = {"ours": ours, "Ray's callback": rays}


if __name__ == "__main__":
    main()
