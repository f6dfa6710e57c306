"""What a Ray that a command starts on this machine opens to others (nothing), and leaves out."""

import os
from pathlib import Path

import pytest
import ray
from ray._private import utils as ray_utils
from ray.air.execution import FixedResourceManager
from ray.tune.execution import class_cache, tune_controller

from dmu_search.on_ray.lean import waiting_processes
from tests.processes import descendants, listening

# As the kernel writes them: 127.0.0.1, the same within IPv6, and ::1.
_LOOPBACK = (
    "0100007F",
    "0000000000000000FFFF00000100007F",
    "00000000000000000000000001000000",
)


def _at_work():
    return os.getpid()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_nothing_listens_beyond_the_loopback(cluster):
    assert ray.get(ray.remote(_at_work).remote())
    found = listening({os.getpid(), *descendants(os.getpid())})
    assert len(found) >= 4
    beyond = [address for address in found if address.split(":")[0] not in _LOOPBACK]
    assert not beyond


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads Linux's processes")
def test_ray_starts_without_what_a_search_does_not_use(cluster):
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(os.getpid())]
    assert any(b"/raylet" in command for command in commands)
    assert not [command for command in commands if b"monitor.py" in command]
    assert not [command for command in commands if b"/dashboard.py" in command]
    # The agents, which rename themselves, do without its part if this is asked for it.
    assert hasattr(ray_utils, "get_dashboard_dependency_error")


def test_the_names_are_there_by_which_trials_use_the_processes_that_wait(cluster):
    assert "PL_DISABLE_FORK" in class_cache.DEFAULT_ENV_VARS
    with waiting_processes():
        assert class_cache.DEFAULT_ENV_VARS == {}
        assert tune_controller.PlacementGroupResourceManager is FixedResourceManager
    assert tune_controller.PlacementGroupResourceManager is not FixedResourceManager
