"""The process beside a command: real ones, with a real server that is killed now and then."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dmu_search.config.settings import TrackingSettings
from dmu_search.errors import TrackingError
from dmu_search.exit_codes import INTERRUPTED
from dmu_search.records import RunStart, read_record, record_files
from dmu_search.tracking import open_tracking
from tests.processes import Screen, descendants

STUDY = RunStart("s1", "s1", "study", tags={"study": "s1"})
TRIAL = RunStart("s1.t1", "trial 000", "trial", parent_id="s1")


def runs_of(client):
    return client.search_runs([each.experiment_id for each in client.search_experiments()])


def points(uri):
    """(run, metric, step) -> how often MLflow has it."""
    client = MlflowClient(uri)
    return Counter(
        (run.data.tags["dmu_search.run_id"], name, point.step)
        for run in runs_of(client)
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )


def check_each_point_once(uri, output_dir):
    """Those of the records, and no others."""
    recorded = {
        (path.stem, name, event["step"])
        for path in record_files(output_dir / "records")
        for event in read_record(path)
        if event["event"] == "metrics"
        for name in event["values"]
    }
    assert recorded
    assert points(uri) == Counter(dict.fromkeys(recorded, 1))


def check_all_closed(uri, output_dir):
    runs = runs_of(MlflowClient(uri))
    assert len(runs) == len(record_files(output_dir / "records"))
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}


@pytest.mark.slow
def test_a_command_that_does_not_wait_leaves_nothing_out(store_uri, tmp_path):
    with open_tracking(TrackingSettings(store_uri, "dmu_search"), tmp_path) as tracking:
        tracking.check()
        tracking.begin()
        tracking.recorder.start(STUDY)
        tracking.recorder.start(TRIAL)
        tracking.recorder.log("s1.t1", {"val_nll_nats": 1.0}, step=1)
        page = tracking.page("s1.t1")
        assert page.path.startswith(f"/#/experiments/1/runs/{page.mlflow_id}?")
        assert tracking.page("s1.t2") is None
        tracking.recorder.log("s1.t1", {"val_nll_nats": 2.0}, step=2)
        for name in ("s1.t1", "s1"):
            tracking.recorder.end(name, "FINISHED")
    with open_tracking(TrackingSettings(store_uri, "dmu_search"), tmp_path) as tracking:
        tracking.begin()
        tracking.follow(["s1"])
        assert tracking.settle() is None
    check_each_point_once(store_uri, tmp_path)
    check_all_closed(store_uri, tmp_path)


@pytest.mark.slow
def test_a_store_that_is_none_is_told_before_anything_is_made(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database")
    with (
        open_tracking(TrackingSettings(None, "dmu_search"), tmp_path) as tracking,
        pytest.raises(TrackingError, match=r"mlflow\.db: cannot be used \(.*not a database"),
    ):
        tracking.check()
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


# It goes on until it is interrupted.
SMALL = ["task=adding", "data.length=12", "data.batches_per_epoch=20", "search.trials=2"]
SMALL += ["training.max_epochs=100000", "search.checkpoint_every_s=1", "resources.cpus=2"]
SMALL += ["resources.object_store_mb=100", "search.page=false"]


@contextmanager
def search(*words, folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "dmu_search", "tune", *words, f"output_dir={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process, Screen(process)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=240) == INTERRUPTED
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def sender_of(process):
    (found,) = [
        pid
        for pid in descendants(process.pid)
        if b"dmu_search.tracking.sender" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return found


@pytest.mark.slow
def test_a_server_that_is_gone_for_a_while_loses_and_repeats_nothing(server, store_uri, tmp_path):
    folder = tmp_path / "runs"
    with search(*SMALL, f"tracking.uri={server.address}", folder=folder) as (_, screen):
        screen.until(r"trial \d  running  epoch")
        server.kill()
        screen.until("warning: MLflow at .* does not answer")
        # What comes now is missing on the server.
        screen.until(r"trial \d  running  epoch")
        server.start()
        screen.until("warning: MLflow at .* is back", r"trial \d  running  epoch")
    screen.end()
    assert "lacks" not in screen.text
    assert f"{server.address}/#/experiments/" in screen.text
    check_each_point_once(store_uri, folder)
    check_all_closed(store_uri, folder)


@pytest.mark.slow
@pytest.mark.parametrize("with_sender", [False, True])
def test_an_epoch_that_a_killed_command_had_not_sent_is_sent_on_a_resume(
    server, store_uri, tmp_path, with_sender
):
    folder = tmp_path / "runs"
    with search(*SMALL, f"tracking.uri={server.address}", folder=folder) as (process, screen):
        screen.until(r"trial \d  running  epoch")
        server.kill()
        screen.until("does not answer")
        sender = sender_of(process)
        process.kill()
        process.wait()
    if with_sender:
        os.kill(sender, signal.SIGKILL)
    server.start()
    with search("resume=latest", folder=folder) as (_, screen):
        screen.until(r"trial \d  running  epoch")
    check_each_point_once(store_uri, folder)
    check_all_closed(store_uri, folder)


@pytest.mark.slow
def test_what_a_server_that_stays_away_lacks_is_said_with_the_command(server, store_uri, tmp_path):
    folder = tmp_path / "my runs"
    with search(*SMALL, f"tracking.uri={server.address}", folder=folder) as (_, screen):
        screen.until(r"trial \d  running  epoch")
        server.kill()
        screen.until("does not answer")
    screen.end()
    assert re.search(r"MLflow lacks a part of \d runs \(.*\); the records are whole", screen.text)
    (command,) = re.findall(r"^  (.* -m dmu_search sync .*)$", screen.text, re.MULTILINE)
    assert {f"tracking.uri={server.address}", f"output_dir={folder}"} <= set(shlex.split(command))
    server.start()
    for _ in range(2):
        subprocess.run(command, shell=True, check=True)
        check_each_point_once(store_uri, folder)
        check_all_closed(store_uri, folder)
