"""Independent pieces of work, each on a Ray worker of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from dmu_search.on_ray.devices import assigned_device
from dmu_search.on_ray.lifeline import Lifeline
from dmu_search.on_ray.own_rows import packed_own_rows, unpack_own_rows

_TICK_S = 2.0
_END_S = 10.0


def shared(value: object) -> Any:
    """Put ``value`` where all workers find it; given as an argument, the work gets the value."""
    return ray.put(value)


@dataclass(frozen=True)
class Ended:
    """A piece of work that is over.

    Attributes:
        index: which one.
        result: what it returned; None if it raised.
        error: what it raised, in a line; None if it did not.
    """

    index: int
    result: Any
    error: str | None


def on_workers(
    work: Callable[..., Any],
    arguments: Sequence[Mapping[str, Any]],
    *,
    cpus: float,
    gpus: float,
    stopped: Callable[[], bool],
) -> Iterator[Sequence[Ended]]:
    """Call ``work`` with each set of arguments, as many at a time as the cluster carries.

    Args:
        work: a function; it runs in other processes, perhaps on other machines.
        arguments: of each call, by name; large ones are best put into Ray's store by the caller.
        cpus: cores of one call.
        gpus: share of a GPU, or whole GPUs, of one call; 0 hides the GPUs.
        stopped: asked every few seconds; if true, calls that go on are ended.

    Yields:
        What has ended since the last time, every few seconds; maybe nothing.

    Raises:
        ClusterError: Ray is lost.
    """
    lifeline = Lifeline.of_session()
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=2)(_call)
    own = packed_own_rows()
    waiting = {remote.remote(work, own, **each): index for index, each in enumerate(arguments)}
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=_TICK_S)
        if (fault := lifeline.fault()) is not None:
            raise fault
        yield [_ended(waiting.pop(each), each) for each in done]
        if stopped():
            for each in waiting:
                ray.cancel(each, force=True)
            # Until their processes have ended they write.
            ray.wait(list(waiting), num_returns=len(waiting), timeout=_END_S)
            return


def _call(work: Callable[..., Any], own: bytes, **arguments: Any) -> Any:
    unpack_own_rows(own)
    assigned_device()
    return work(**arguments)


def _ended(index: int, reference: Any) -> Ended:
    try:
        return Ended(index, ray.get(reference), None)
    except Exception as fault:  # Whatever the work raised, wrapped by Ray.
        cause = getattr(fault, "cause", None) or fault
        return Ended(index, None, " ".join(str(cause).split())[:300])
