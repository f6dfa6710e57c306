"""Starting, or joining, Ray for one command."""

import atexit
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import ray
from ray._private import ray_constants
from ray.exceptions import AuthenticationError

from dmu_search.config.settings import ResourceSettings
from dmu_search.errors import ClusterError, ConfigError, DmuSearchError
from dmu_search.on_ray.lean import lean_start
from dmu_search.on_ray.lifeline import Lifeline
from dmu_search.on_ray.ray_log import RayLog

_TOKEN = (
    "resources.address={address}: the cluster does not accept this machine's Ray token, or there "
    "is none; copy the head's ~/.ray/auth_token here (or name the file in RAY_AUTH_TOKEN_PATH) and "
    "set RAY_AUTH_MODE=token"
)


@dataclass(frozen=True)
class Cluster:
    """What Ray offers.

    Attributes:
        cpus: cores.
        gpus: GPUs.
        nodes: machines.
        joined: whether it was there before this command.
    """

    cpus: float
    gpus: float
    nodes: int
    joined: bool = False

    @classmethod
    def now(cls, settings: ResourceSettings) -> "Cluster":
        """What Ray offers at the moment; machines may still join."""
        total = ray.cluster_resources()
        nodes = sum(node["Alive"] for node in ray.nodes())
        joined = settings.address is not None
        return cls(total.get("CPU", 0.0), total.get("GPU", 0.0), nodes, joined)


@contextmanager
def ray_session(settings: ResourceSettings, log: RayLog | None = None) -> Iterator[Cluster]:
    """Ray for the length of a ``with`` block: started on this machine, or joined at an address.

    One that this process uses already, as a notebook may, is used and stays.

    Args:
        settings: whether, and with what, to start it, or where to join it.
        log: of what Ray prints; why it refuses a token is only said there.

    Raises:
        ConfigError: no Ray cluster answers at the address, or none that lets this machine in.
        ClusterError: Ray does not start on this machine, or is lost.
    """
    for name in ("ray", "ray.tune", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    own = not ray.is_initialized()
    try:
        if own:
            _init(settings)
        lifeline = Lifeline.of_session()
    except Exception as fault:  # Ray raises errors of many kinds, plain ones among them.
        printed = b"" if log is None else log.read()
        raise _refusal(settings, fault, printed=printed) from None
    try:
        with lifeline.in_words():
            yield Cluster.now(settings)
    finally:
        if lifeline.fault() is None:
            if own:
                ray.shutdown()
        else:
            # Ray's own way out would wait a minute for what is gone, and end in a crash.
            atexit.register(end_process)
            if log is not None:
                log.stay()


def _refusal(settings: ResourceSettings, fault: Exception, *, printed: bytes) -> DmuSearchError:
    """Why Ray could not be started or joined."""
    reason = " ".join(str(fault).split())[:200]
    if settings.address is None:
        return ClusterError(
            f"Ray does not start on this machine ({reason}); if its processes are killed for want "
            "of memory, end other programs or lower resources.object_store_mb"
        )
    if isinstance(fault, AuthenticationError) or b"InvalidAuthToken" in printed:
        return ConfigError(_TOKEN.format(address=settings.address))
    return ConfigError(
        f"resources.address={settings.address}: Ray cannot be used there ({reason}); check the "
        "address, or leave it out to start Ray on this machine"
    )


def end_process() -> NoReturn:
    """End this process, and the Ray that it started, without Ray's help; the exit code is 1."""
    node = ray._private.worker._global_node
    if node is not None:
        node.kill_all_processes(check_alive=False, allow_graceful=True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1)


def _is_true(text: str) -> bool:
    """As Ray reads its variables."""
    return text.lower() in ("1", "true")


def _init(settings: ResourceSettings) -> None:
    shared: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if settings.address is not None:
        ray.init(address=settings.address, **shared)
        return
    python = shlex.quote(sys.executable)
    if python != sys.executable:
        # Ray hands the path to a shell as it is; with a blank in it no worker would ever start.
        shared["runtime_env"] = {"py_executable": python}
    # Read when Ray was imported, which a notebook may have done before this package.
    ray_constants.ENABLE_RAY_CLUSTER = _is_true(os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"])
    shared["object_store_memory"] = settings.object_store_mb * 1_000_000
    with lean_start(settings.cpus, settings.gpus):
        ray.init(
            address="local",
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            include_dashboard=False,
            **shared,
        )
