"""Processes of Ray that are killed or run out of memory, and settings that cannot work."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from inspect import signature
from pathlib import Path

import pytest
import torch
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayTaskError

from dmu_search.data.loading import load_data
from dmu_search.on_ray.trial_faults import (
    MemoryKillError,
    actor_manager,
    fault_of,
    memory_kills_as_deaths,
)
from dmu_search.records import read_events
from tests.on_ray.conftest import SMALL, NoCorpus, Watching, mlflow_runs
from tests.processes import CARRIERS, Screen, named

# Long enough for a process to be killed before its trial is over.
LONG = [*(word for word in SMALL if "max_epochs" not in word), "training.max_epochs=30"]


def events(study, kind):
    return [event for event in study.events() if event["event"] == kind]


@pytest.mark.slow
def test_a_trial_whose_process_is_killed_is_tried_again_with_more_room(bench):
    study = bench.plan("search.trials=1", "search.scheduler=none", small=LONG)

    def kill_once(trial):
        if trial.epoch < 2:
            return False
        (carrier,) = named(os.getpid(), *CARRIERS)
        os.kill(carrier, signal.SIGKILL)
        return True

    watcher = Watching(kill_once)
    outcome = bench.run(study, watcher=watcher)
    assert outcome.counts == {"finished": 1}
    (retry,) = events(study, "retry")
    assert "its process was killed" in retry["reason"]
    assert retry["room"] == 2
    assert watcher.said == [f"trial 0 is tried again, with 2 times the room: {retry['reason']}"]


class Hungry:
    """The data of a task; the first process that asks for it has too little memory."""

    def __init__(self, data, marker):
        self._data = data
        self._marker = marker

    @property
    def task_data(self):
        if not self._marker.exists():
            self._marker.touch()
            resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))
            torch.zeros(2**33)
        return self._data.task_data

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._data, name)


@pytest.mark.slow
def test_a_trial_that_lacks_memory_is_tried_again_with_more_room(bench, tmp_path):
    study = bench.plan("search.trials=1", "search.scheduler=none")
    data = load_data(study.settings.task, study.settings.data)
    watcher = Watching()
    outcome = bench.run(study, watcher=watcher, data=Hungry(data, tmp_path / "asked"))
    assert outcome.counts == {"finished": 1}
    (retry,) = events(study, "retry")
    assert "ran out of memory" in retry["reason"]
    assert "allocate memory" in retry["reason"]
    assert retry["room"] == 2
    assert len(watcher.said) == 1


@pytest.mark.slow
def test_a_setting_that_raises_fails_once_and_is_reported(bench):
    study = bench.plan("search.trials=1")
    watcher = Watching()
    outcome = bench.run(study, watcher=watcher, data=NoCorpus())
    assert outcome.counts == {"failed": 1}
    assert outcome.best is None
    assert not events(study, "retry")
    assert watcher.told[-1].status == "failed"
    assert "'NoCorpus' object has no attribute 'task_data'" in watcher.told[-1].error
    assert not watcher.said
    _, trials, _ = mlflow_runs(bench, study)
    assert trials[0].info.status == "FAILED"
    assert "no attribute" in trials[0].data.tags["error"]


class Ended:
    """A Tune trial, as far as its error goes."""

    error_file = None

    def __init__(self, folder, error):
        self.pickled_error_file = folder / "error.pkl"
        self.pickled_error_file.write_bytes(cloudpickle.dumps(error))


@pytest.mark.parametrize(
    ("fault", "reason", "own", "more_room"),
    [
        (MemoryError(), "MemoryError", False, True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "CUDA out", False, True),
        (RuntimeError("std::bad_alloc"), "bad_alloc", False, True),
        (ValueError("widths:\n must be > 0"), "ValueError: widths: must be > 0", True, False),
    ],
)
def test_what_a_trial_raised_is_judged_by_its_words(tmp_path, fault, reason, own, more_room):
    judged = fault_of(Ended(tmp_path, RayTaskError("step", "Traceback ..", fault)))
    assert reason in judged.reason
    assert (judged.own, judged.more_room) == (own, more_room)


class Tracked:
    """A tracked actor and its task, as Ray Tune's actor manager has them."""

    actor_id = 1

    def __init__(self):
        self._tracked_actor = self
        self.told = []

    def _on_error(self, _, error):
        self.told.append(error)


CHANGED = (
    "Ray Tune has changed how it takes the errors of actors; see on_ray/trial_faults.py: "
    "adapt memory_kills_as_deaths, or drop it if a memory kill now fails one trial alone"
)


def test_ray_tune_still_ends_a_run_on_a_memory_kill_unless_it_is_told_otherwise():
    """Where this fails, Ray has changed."""
    manager = actor_manager()
    assert manager is not None, CHANGED
    own, task, error = manager(None), Tracked(), OutOfMemoryError("low on memory")
    before = manager._actor_task_failed
    assert list(signature(before).parameters) == ["self", "tracked_actor_task", "exception"], (
        CHANGED
    )
    with pytest.raises(RuntimeError, match="unexpected exception"):
        own._actor_task_failed(tracked_actor_task=task, exception=error)
    assert not task.told, CHANGED
    own._cleanup_actor = lambda tracked_actor: None
    with memory_kills_as_deaths():
        own._actor_task_failed(tracked_actor_task=task, exception=error)
    assert {type(each) for each in task.told} == {MemoryKillError}, CHANGED
    assert "low on memory" in str(task.told[0])
    assert manager._actor_task_failed is before


def test_a_ray_without_that_method_is_used_as_it_is(monkeypatch):
    monkeypatch.delattr(actor_manager(), "_actor_task_failed")
    assert actor_manager() is None
    with memory_kills_as_deaths():
        pass


@pytest.mark.slow
def test_rays_memory_monitor_fails_the_trial_and_not_the_study(tmp_path):
    """Every process is above this threshold, so each try ends alike."""
    done = tune(tmp_path, "search.trials=1", RAY_memory_usage_threshold="0.01")
    assert done.returncode == 1, done.stdout + done.stderr
    again = "trial 0 is tried again, with 2 times the room: Ray ended its process because"
    assert again in done.stdout
    assert "its process was lost 3 times" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["raylet", "gcs_server"])
def test_a_study_whose_ray_is_lost_ends_in_order_at_once(tmp_path, lost):
    words = ["search.trials=3", "training.max_epochs=100000", "search.checkpoint_every_s=1"]
    with running_tune(tmp_path, *words) as search:
        for line in search.stdout:
            if re.search(r"trial \d  running  epoch", line):
                break
        # Not Ray's agents: they ask a head that is gone for a minute before they end.
        below = named(search.pid, *CARRIERS, "ray::IDLE", "raylet", "gcs_server")
        assert len(below) >= 3
        (victim,) = named(search.pid, lost)
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        said = search.stdout.read()
        assert search.wait() == 1
        # Three seconds of patience, and what a loaded machine takes; Ray's own way takes a minute.
        assert time.monotonic() - killed_at < 30
    assert "no longer answers" in said
    assert "tune resume=" in said
    for noise in ("state-dump", "Traceback", "rpc_client", "failed"):
        assert noise not in said
    assert search.stderr.read() == ""
    records = [list(read_events(path)) for path in (tmp_path / "runs" / "records").iterdir()]
    assert len(records) == 3
    assert {events[-1].get("status") for events in records} == {"KILLED"}
    deadline = time.monotonic() + 30
    while left := [pid for pid in below if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 1.5, 3.0, 6.0])
def test_a_raylet_that_is_lost_while_a_search_starts_is_told(tmp_path, after_s):
    """Ray raises, or its C++ ends the process without a word."""
    with running_tune(tmp_path, "search.trials=1", "training.max_epochs=100000") as search:
        deadline = time.monotonic() + 120
        while not (found := named(search.pid, "raylet")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(after_s)
        os.kill(found[0], signal.SIGKILL)
        said, errors = search.communicate(timeout=180)
    assert search.returncode == 1, said + errors
    assert "Traceback" not in said + errors
    assert len(re.findall("error: ", said + errors)) == 1, said + errors
    assert re.search("does not start|no longer answers|was killed, or Ray", said + errors)


@pytest.mark.slow
def test_a_search_that_is_killed_is_spoken_for(tmp_path):
    with running_tune(tmp_path, "search.trials=1", "training.max_epochs=100000") as search:
        screen = Screen(search)
        screen.until("trial 0  running  epoch")
        search.kill()
        errors = search.stderr.read()
    assert errors.startswith("error: the search was killed, or Ray, which it needs, was")
    assert re.search(r"-m dmu_search tune resume=\S+ output_dir=", errors)


@pytest.mark.slow
def test_short_trials_share_a_few_processes(tmp_path):
    """Each lasts a fraction of a second, its process takes seconds to start."""
    words = ["search.trials=40", "search.max_concurrent=8", "resources.cpus=64"]
    words += ["training.max_epochs=1", "search.scheduler=none", "search.sampler=random"]
    seen, most = set(), 0
    with running_tune(tmp_path, *words) as search:
        while search.poll() is None:
            now = named(search.pid, *CARRIERS, "ray::IDLE")
            seen |= set(now)
            most = max(most, len(named(search.pid, *CARRIERS)))
            time.sleep(0.2)
        assert search.returncode == 0, search.stdout.read()
    # A process is seen between two names now and then; Ray starts two before it is asked to.
    assert 1 <= most <= 9
    assert len(seen) <= 12


@contextmanager
def running_tune(folder: Path, *words: str, **environment: str):
    """A search in a process of its own; ended in order if it is still there at the end."""
    search = subprocess.Popen(
        tune_command(folder, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield search
    finally:
        if search.poll() is None:
            search.terminate()
            search.wait(timeout=120)


def tune(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = tune_command(folder, *words)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, **environment}
    )


def tune_command(folder: Path, *words: str) -> list[str]:
    given = {word.partition("=")[0] for word in words}
    small = [word for word in SMALL if word.partition("=")[0] not in given]
    places = ["tracking.uri=none", f"output_dir={folder / 'runs'}", f"data.root={folder / 'cache'}"]
    return [sys.executable, "-m", "dmu_search", "tune", *small, *words, *places]
