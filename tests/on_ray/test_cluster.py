"""A cluster of two real Ray nodes on this machine, and one that is not as it should be."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from dmu_search.errors import ConfigError
from dmu_search.on_ray.nodes import check_fits, wait_for_gpus
from dmu_search.on_ray.resources import TrialShare, check_shared_folder
from dmu_search.records import read_events
from tests.on_ray.conftest import RESOURCES, SMALL
from tests.processes import Screen, descendants
from tests.test_house import eventually, fetch, free_ports, running, status

TOKEN = "a-token-of-more-than-thirty-two-letters"


def test_results_of_a_cluster_lie_at_an_absolute_path():
    joined = replace(RESOURCES, address="auto")
    with pytest.raises(
        ConfigError, match=r"output_dir=runs: .* absolute path, such as output_dir=/"
    ):
        check_shared_folder(joined, Path("runs"))
    check_shared_folder(joined, Path("/srv/runs"))
    check_shared_folder(RESOURCES, Path("runs"))


def test_missing_gpus_are_waited_for_and_then_named(cluster):
    told = []
    assert wait_for_gpus(RESOURCES, told.append) == cluster
    assert not told
    with pytest.raises(ConfigError, match=r"resources\.min_gpus=2: Ray has 0 GPUs after 0\.1 s"):
        wait_for_gpus(replace(RESOURCES, min_gpus=2, wait_s=0.1), told.append)
    assert told == ["waiting up to 0.1 s for 2 GPUs; 0 are there"]


def test_a_trial_that_no_machine_can_carry_is_refused(cluster):
    check_fits(TrialShare(cpus=2.0, gpus=0.0, concurrent=1))
    with pytest.raises(ConfigError, match="wants 3 cores and 0 GPUs of one machine"):
        check_fits(TrialShare(cpus=3.0, gpus=0.0, concurrent=1))


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head of one core, in a folder of its own: its address, environment and folder."""
    folder = tmp_path_factory.mktemp("head")
    (port,) = free_ports(1)
    own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    # A machine that is gone is missed after two seconds instead of a minute.
    own |= {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3"}
    # Short, for the sockets' paths.
    with tempfile.TemporaryDirectory(prefix="ray") as scratch:
        words = f"--head --port={port} --include-dashboard=false --temp-dir={scratch}"
        with node(words, own, folder) as process:
            address = f"127.0.0.1:{port}"
            eventually(lambda: answers(port), process)
            yield address, own, folder


@contextmanager
def node(words: str, environment: dict[str, str], folder: Path):
    """One more node of a cluster, of one core, in the working directory ``folder``."""
    start = f"ray start {words} --num-cpus=1 --object-store-memory=100000000 --block"
    command = ["bash", "-c", f"cd {shlex.quote(str(folder))} && exec {start}"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with running(command, {**environment, "PATH": path}) as process:
        yield process


def answers(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    return False


@contextmanager
def tune(head, *words: str, **environment: str):
    """A search on the cluster; it is ended, with what it started, where a test fails."""
    address, own, folder = head
    command = [sys.executable, "-m", "dmu_search", "tune", *SMALL[:-3], *words]
    command += [
        f"resources.address={address}",
        "tracking.uri=none",
        f"data.root={folder / 'cache'}",
    ]
    search = subprocess.Popen(
        command,
        cwd=folder,
        env={**own, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield search
    finally:
        if search.poll() is None:
            kill_all(search)
        search.stdout.close()
        search.wait(timeout=30)


def kill_all(process: "subprocess.Popen[str]") -> None:
    """As the loss of its machine ends it, and what it has started."""
    for pid in [process.pid, *descendants(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_wrong_token_is_called_that(head):
    wrong = "another-token-of-more-than-thirty-two"
    with tune(head, "output_dir=/tmp/never-made", RAY_AUTH_TOKEN=wrong) as search:
        screen = Screen(search)
        assert screen.end() == 2, screen.text
    said = (
        r"loading the data and joining the Ray cluster \.\.\n"
        r"error: .*does not accept this machine's Ray token.*\n"
    )
    assert re.fullmatch(said, screen.text)


@pytest.mark.slow
def test_a_study_runs_on_a_cluster_that_it_joins(head, tmp_path):
    words = ["search.trials=2", "training.max_epochs=1", "resources.gpus_per_trial=0"]
    with tune(head, *words, f"output_dir={tmp_path / 'runs'}") as search:
        screen = Screen(search)
        assert screen.end() == 0, screen.text
    assert "2 trials finished" in screen.text
    assert "no GPU has joined" in screen.text


@pytest.fixture
def another(head, tmp_path):
    """What adds a machine to the cluster: one core, and as many GPUs as are named."""
    address, own, _ = head
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    return lambda gpus: node(f"--address={address} --num-gpus={gpus}", own, elsewhere)


@pytest.mark.slow
def test_gpus_that_join_late_are_waited_for_and_used(head, another, tmp_path):
    words = ["search.trials=1", "training.max_epochs=1", "resources.gpus_per_trial=1"]
    waits = ["resources.min_gpus=2", "resources.wait_s=200"]
    with tune(head, *words, *waits, f"output_dir={tmp_path / 'runs'}") as search:
        screen = Screen(search)
        screen.until("waiting up to 200 s for 2 GPUs; 0 are there")
        with another(gpus=2):
            assert screen.end() == 0, screen.text
    assert re.search(r"devices +2 CPU cores, 2 GPUs, 2 nodes", screen.text), screen.text
    assert "1 trials finished" in screen.text


@pytest.mark.slow
def test_a_machine_that_does_not_see_the_results_is_named(head, another):
    with another(gpus=1):
        # Each process reads this path as a folder of its own.
        words = ["resources.min_gpus=1", "resources.wait_s=200", "output_dir=/proc/self/cwd/runs"]
        with tune(head, "search.trials=1", "training.max_epochs=1", *words) as search:
            screen = Screen(search)
            assert screen.end() == 2, screen.text
    assert "does not see output_dir=/proc/self/cwd/runs; mount one and the same" in screen.text


@pytest.mark.slow
def test_trials_of_a_machine_that_is_lost_are_tried_again(head, another, tmp_path):
    words = ["search.trials=2", "search.scheduler=none", "training.max_epochs=100000"]
    words += ["resources.gpus_per_trial=0", "search.checkpoint_every_s=1"]
    words += ["resources.min_gpus=1", "resources.wait_s=200"]
    output_dir = f"output_dir={tmp_path / 'runs'}"
    with another(gpus=1) as machine, tune(head, *words, output_dir) as search:
        screen = Screen(search)
        screen.until("trial 0  running  epoch", "trial 1  running  epoch")
        kill_all(machine)
        screen.until("is lost, 1 of 2 machines are left", "is tried again: its machine was lost")
        screen.until(r"trial \d  running  epoch")
        search.send_signal(signal.SIGTERM)
        assert screen.end() == 130, screen.text
    assert "tune resume=" in screen.text
    assert " 0 failed or diverged, 2 to go" in screen.text


@pytest.mark.slow
def test_a_stopped_job_ends_in_order_and_says_how_to_submit_it_again(tmp_path):
    port, dashboard, client, agent = free_ports(4)
    own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    ports = f"--port={port} --dashboard-port={dashboard} --ray-client-server-port={client}"
    words = ["tune", *SMALL[:-3], "search.trials=3", "training.max_epochs=100000"]
    words += ["resources.address=auto", f"output_dir={tmp_path / 'runs'}", "tracking.uri=none"]
    words += [f"data.root={tmp_path / 'cache'}"]
    job = {
        "entrypoint": shlex.join([sys.executable, "-m", "dmu_search", *words]),
        "runtime_env": {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}},
    }
    with tempfile.TemporaryDirectory(prefix="ray") as scratch:
        start = f"--head --temp-dir={scratch} --dashboard-agent-listen-port={agent} {ports}"
        with node(start, own, tmp_path) as head:
            jobs = f"http://127.0.0.1:{dashboard}/api/jobs/"
            eventually(lambda: status(jobs, token=TOKEN) == 200, head)
            own_job = jobs + fetch(jobs, token=TOKEN, body=job)["submission_id"]

            def said() -> str:
                return fetch(f"{own_job}/logs", token=TOKEN)["logs"]

            eventually(lambda: re.search(r"trial \d  running  epoch", said()), head)
            fetch(f"{own_job}/stop", token=TOKEN, body={})
            eventually(lambda: fetch(own_job, token=TOKEN)["status"] == "STOPPED", head)
            logs = said()
    assert "interrupted; what finished is kept. To resume:" in logs
    assert "ray job submit --runtime-env-json" in logs
    records = [list(read_events(path)) for path in (tmp_path / "runs" / "records").iterdir()]
    assert {events[-1].get("status") for events in records} == {"KILLED"}
