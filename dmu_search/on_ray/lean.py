"""Ray on one machine, without what a search has no use for.

Ray has no settings for these, so this reaches into it. A Ray without the names below starts as it
likes; ``tests/on_ray/test_session.py`` says when one is gone.

* An autoscaler, a process that publishes logs, and one that serves no dashboard but is waited for,
  are not started, nor is the dashboard's part of the agents (ray issue 65983).
* Ray starts a process for each core with its driver. Tune's trials cannot use them: they ask for an
  environment variable that only PyTorch Lightning reads, and each placement group tries itself out
  with a task in one of them. Without both, trials start in processes that are there already, and
  have imported meanwhile what takes seconds.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._private import parameter, services
from ray._private import utils as ray_utils

# Seconds to import; what else a trial needs is there at once.
_SLOW = "torch,ray.tune"
_PRELOAD = "RAY_preload_python_modules"
# Of a machine where each core carries a trial; on a larger one most of Ray's processes do not.
_MOST_CORES = 16
_NVIDIA = Path("/proc/driver/nvidia/gpus")


@contextmanager
def lean_start(cpus: int | None, gpus: int | None) -> Iterator[None]:
    """Have the Ray that starts in the ``with`` block leave out what a search does not use.

    Args:
        cpus: cores that it is told of; None: those of the machine.
        gpus: GPUs likewise.
    """
    preloads = _each_core_carries_a_trial(cpus, gpus) and _PRELOAD not in os.environ
    if preloads:
        os.environ[_PRELOAD] = _SLOW
    try:
        with (
            _in_place(ray_utils, "get_dashboard_dependency_error", other=lambda _: _no_dashboard),
            _in_place(services, "start_api_server", other=lambda _: _no_server),
            _in_place(parameter, "RayParams", other=_without_helpers),
        ):
            yield
    finally:
        if preloads:
            del os.environ[_PRELOAD]


@contextmanager
def waiting_processes() -> Iterator[None]:
    """Let the trials of a ``with`` block use the processes that Ray has started already.

    Only on one machine: on several, placement groups say which one has room for a trial.
    """
    if len(ray.nodes()) > 1:
        yield
        return
    from ray.air.execution import FixedResourceManager
    from ray.tune.execution import class_cache, tune_controller

    with (
        _in_place(class_cache, "DEFAULT_ENV_VARS", other=lambda _: {}),
        _in_place(
            tune_controller,
            "PlacementGroupResourceManager",
            other=lambda _: FixedResourceManager,
        ),
    ):
        yield


@contextmanager
def _in_place(module: Any, name: str, *, other: Any) -> Iterator[None]:
    """Put ``other(it)`` in the place of a name of Ray's, if it is there."""
    if not hasattr(module, name):
        yield
        return
    original = getattr(module, name)
    setattr(module, name, other(original))
    try:
        yield
    finally:
        setattr(module, name, original)


def _without_helpers(parameters: Any) -> Any:
    return partial(parameters, no_monitor=True, include_log_monitor=False)


def _no_dashboard() -> ImportError:
    """As where Ray is installed without its dashboard."""
    return ImportError("a search does not show Ray's dashboard")


def _no_server(*_: Any, **__: Any) -> tuple[None, None]:
    """No address of a dashboard, and no process."""
    return None, None


def _each_core_carries_a_trial(cpus: int | None, gpus: int | None) -> bool:
    cores = len(os.sched_getaffinity(0)) if cpus is None else cpus
    has_gpus = _NVIDIA.is_dir() if gpus is None else gpus > 0
    return cores <= _MOST_CORES and not has_gpus
