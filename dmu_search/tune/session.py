"""Starting, or joining, Ray for one command."""

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Ray reads these when it is imported.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables; ours replace them
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the records hold it all
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
# Our handler turns the first Ctrl-C into Tune's orderly stop, wherever it comes.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")

import ray

from dmu_search.config.settings import ResourceSettings
from dmu_search.errors import ConfigError


@dataclass(frozen=True)
class Cluster:
    """What Ray offers.

    Attributes:
        cpus: cores.
        gpus: GPUs.
        nodes: machines.
    """

    cpus: float
    gpus: float
    nodes: int


@contextmanager
def ray_session(settings: ResourceSettings) -> Iterator[Cluster]:
    """Ray for the length of a ``with`` block: started on this machine, or joined at an address.

    Raises:
        ConfigError: no Ray cluster answers at the address.
    """
    for name in ("ray", "ray.tune", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        _init(settings)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as fault:
        raise ConfigError(
            f"resources.address={settings.address}: Ray cannot be used there "
            f"({' '.join(str(fault).split())[:200]}); check the address, or leave it out to "
            "start Ray on this machine"
        ) from None
    try:
        total = ray.cluster_resources()
        alive = [node for node in ray.nodes() if node["Alive"]]
        yield Cluster(total.get("CPU", 0.0), total.get("GPU", 0.0), len(alive))
    finally:
        ray.shutdown()


def _init(settings: ResourceSettings) -> None:
    shared: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if settings.address is not None:
        ray.init(address=settings.address, **shared)
        return
    python = shlex.quote(sys.executable)
    if python != sys.executable:
        # Ray hands the path to a shell as it is; with a blank in it no worker would ever start.
        shared["runtime_env"] = {"py_executable": python}
    shared["object_store_memory"] = settings.object_store_mb * 1_000_000
    ray.init(
        address="local",
        num_cpus=settings.cpus,
        num_gpus=settings.gpus,
        include_dashboard=False,
        **shared,
    )
