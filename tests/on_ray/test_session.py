"""What a Ray that a command starts on this machine opens to others: nothing."""

import os
from pathlib import Path

import pytest
import ray

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
