"""A cluster of two real Ray nodes on this machine, and one that is not as it should be."""

import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from dmu_search.errors import ConfigError
from dmu_search.tune.nodes import check_fits, check_shared_folder, wait_for_gpus
from dmu_search.tune.resources import TrialShare
from tests.test_house import eventually, free_ports, running
from tests.tune.conftest import RESOURCES, SMALL

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


def tune(head, *words: str, **environment: str) -> subprocess.Popen[str]:
    address, own, folder = head
    command = [sys.executable, "-m", "dmu_search", "tune", *SMALL[:-3], *words]
    command += [
        f"resources.address={address}",
        "tracking.uri=none",
        f"data.root={folder / 'cache'}",
    ]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**own, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_wrong_token_is_called_that(head):
    wrong = "another-token-of-more-than-thirty-two"
    search = tune(head, "output_dir=/tmp/never-made", RAY_AUTH_TOKEN=wrong)
    said, _ = search.communicate(timeout=300)
    assert search.returncode == 2
    assert re.fullmatch(r"error: .*does not accept this machine's Ray token.*\n", said)


@pytest.mark.slow
def test_a_study_runs_on_a_cluster_that_it_joins(head, tmp_path):
    words = ["search.trials=2", "training.max_epochs=1", "resources.gpus_per_trial=0"]
    search = tune(head, *words, f"output_dir={tmp_path / 'runs'}")
    said, _ = search.communicate(timeout=300)
    assert search.returncode == 0, said
    assert "2 trials finished" in said
    assert "no GPU has joined" in said
