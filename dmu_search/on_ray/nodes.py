"""The machines of a cluster: whether they are there, fit the trials, and see the results."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dmu_search.config.settings import ResourceSettings
from dmu_search.errors import ConfigError
from dmu_search.folders import write_whole
from dmu_search.on_ray.resources import TrialShare
from dmu_search.on_ray.session import Cluster

_COUNTED = ("CPU", "GPU")
_LOOK_EVERY_S = 1.0
_NEWS_EVERY_S = 5.0
# Network file systems show a new file late; a worker that has to start first takes longer.
_SEEN_WITHIN_S = 10.0
_ANSWER_WITHIN_S = 120.0


def wait_for_gpus(settings: ResourceSettings, waiting: Callable[[str], None]) -> Cluster:
    """Wait until the cluster has the GPUs that were asked for; returns what it has then.

    Args:
        settings: ``min_gpus``, and ``wait_s`` that they have to appear in.
        waiting: told once, in a sentence, that there are too few as yet.

    Raises:
        ConfigError: they did not appear.
    """
    wanted, deadline = settings.min_gpus or 0, time.monotonic() + settings.wait_s
    cluster = Cluster.now(settings)
    if cluster.gpus < wanted and settings.wait_s:
        waiting(
            f"waiting up to {settings.wait_s:g} s for {wanted} GPUs; {cluster.gpus:g} are there"
        )
    while cluster.gpus < wanted:
        if time.monotonic() >= deadline:
            raise ConfigError(
                f"resources.min_gpus={wanted}: Ray has {cluster.gpus:g} GPUs after "
                f"{settings.wait_s:g} s; start the missing machines (`ray status` lists those "
                "there), raise resources.wait_s, or lower resources.min_gpus"
            )
        time.sleep(_LOOK_EVERY_S)
        cluster = Cluster.now(settings)
    return cluster


def check_all_see(output_dir: Path) -> None:
    """Check that every machine of the cluster sees this machine's ``output_dir``.

    Raises:
        ConfigError: one does not, or does not answer.
        StorageError: the folder cannot be written.
    """
    nodes = _alive()
    if len(nodes) < 2:
        return
    token, content = output_dir / f".seen-{uuid4().hex}", uuid4().hex
    write_whole(token, content.encode())
    try:
        asked = {_ask(node, token, content=content): name for node, name in nodes.items()}
        answered, silent = ray.wait(
            list(asked), num_returns=len(asked), timeout=_ANSWER_WITHIN_S, fetch_local=False
        )
        blind = [asked[each] for each in answered if not _answer(each)]
    finally:
        token.unlink(missing_ok=True)
    faults = [
        f"{name}: does not see output_dir={output_dir}; mount one and the same folder there on "
        "every machine (NFS, for instance), or name one that all see"
        for name in blind
    ]
    faults += [
        f"{asked[each]}: did not answer within {_ANSWER_WITHIN_S:g} s; mend or remove the machine"
        for each in silent
    ]
    if faults:
        raise ConfigError(*faults)


def largest_node() -> Mapping[str, float]:
    """The most cores (``CPU``) and GPUs (``GPU``) that one machine has."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return {name: max((each.get(name, 0.0) for each in alive), default=0.0) for name in _COUNTED}


def check_fits(share: TrialShare) -> None:
    """Check that one machine can carry a trial: no trial spreads over two.

    Raises:
        ConfigError: none can, so that the study would wait for ever.
    """
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fits = (
        each.get("CPU", 0.0) >= share.cpus and each.get("GPU", 0.0) >= share.gpus for each in alive
    )
    if not any(fits):
        raise ConfigError(
            f"resources: a trial wants {share.cpus:g} cores and {share.gpus:g} GPUs of one "
            "machine, and none has them; lower resources.cpus_per_trial or gpus_per_trial"
        )


class NodeNews(tune.Callback):
    """Says when a machine of the cluster is lost or joins while a study runs.

    Args:
        say: told in a sentence.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._looked_at = -math.inf
        self._known = _alive()

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Compare the machines with those of the last look, every few seconds."""
        if time.monotonic() - self._looked_at < _NEWS_EVERY_S:
            return
        self._looked_at = time.monotonic()
        before, self._known = self._known, _alive()
        for node in before.keys() - self._known.keys():
            self._say(
                f"{before[node]} is lost, {len(self._known)} of {len(before)} machines are left; "
                "its trials are carried on with on these"
            )
        for node in self._known.keys() - before.keys():
            self._say(f"{self._known[node]} has joined; trials that wait for room may use it")


def _alive() -> dict[str, str]:
    """Id -> name of each machine."""
    return {node["NodeID"]: _name(node) for node in ray.nodes() if node["Alive"]}


def _ask(node: str, token: Path, *, content: str) -> "ray.ObjectRef[bool]":
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    remote = ray.remote(num_cpus=0, max_retries=0)(_sees).options(scheduling_strategy=there)
    reference: ray.ObjectRef[bool] = remote.remote(str(token), content)
    return reference


def _sees(token: str, content: str) -> bool:
    """Whether the machine that this runs on has the file."""
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while True:
        try:
            return Path(token).read_text(encoding="utf-8") == content
        except OSError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.5)


def _answer(reference: "ray.ObjectRef[bool]") -> bool:
    try:
        return bool(ray.get(reference))
    except ray.exceptions.RayError:
        return False


def _name(node: dict[str, object]) -> str:
    """A machine as its owner knows it."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
