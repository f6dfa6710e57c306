"""Frozen settings of one study or training, each part for the layer that needs it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from dmu_search.config.keys import KEYS, Value
from dmu_search.data.settings import DataSettings
from dmu_search.engine.settings import NetworkSettings, TrainingSettings


@dataclass(frozen=True)
class SearchSettings:
    """How a study searches; see the keys ``search.*``."""

    trials: int
    objective: str
    sampler: str
    startup_trials: int
    scheduler: str
    grace_epochs: int | None
    reduction_factor: int
    max_concurrent: int | None
    time_budget_s: float | None
    seed: int
    warm_start: str
    prior: str
    patience_trials: int | None
    target: float | None
    finalists: int
    finalist_seeds: int
    finalist_share: float
    checkpoint_every_s: float
    checkpoint_mb: float
    min_free_mb: float
    page: bool


@dataclass(frozen=True)
class ResourceSettings:
    """What a study may use; see the keys ``resources.*``."""

    gpus_per_trial: float | str
    cpus_per_trial: float | str
    cpus: int | None
    gpus: int | None
    object_store_mb: int
    address: str | None
    min_gpus: int | None = None
    wait_s: float = 0.0


@dataclass(frozen=True)
class TrackingSettings:
    """Where runs are logged; see the keys ``tracking.*``."""

    uri: str | None
    experiment: str


@dataclass(frozen=True)
class RunSettings:
    """Everything that one training needs, and all that an exported file holds under ``config``."""

    task: str
    model: str
    depth: int
    network: NetworkSettings
    training: TrainingSettings
    data: DataSettings

    @classmethod
    def from_values(
        cls, task: str, model: str, *, depth: int, values: Mapping[str, Value]
    ) -> "RunSettings":
        """Build from dotted keys; ``network.widths`` must be a tuple by now."""
        network = {"model": model} | _group(values, "network", kind=NetworkSettings)
        return cls(
            task=task,
            model=model,
            depth=depth,
            network=NetworkSettings(**network),
            training=TrainingSettings(**_group(values, "training", kind=TrainingSettings)),
            data=build(DataSettings, "data", values=values),
        )

    def values(self) -> dict[str, Value]:
        """The settings by dotted key; the inverse of ``from_values``.

        Where data lies on this machine is left out: it is not part of what is trained.
        """
        groups: tuple[tuple[str, NetworkSettings | TrainingSettings | DataSettings], ...] = (
            ("network", self.network),
            ("training", self.training),
            ("data", self.data),
        )
        flat = {
            f"{group}.{name}": getattr(part, name)
            for group, part in groups
            for name in _names(type(part))
        }
        return {
            name: value
            for name, value in flat.items()
            if name in KEYS and name not in PLACES and KEYS[name].exists_for(self.task, self.model)
        }

    @property
    def setting(self) -> "RunSettings":
        """What is trained, whatever the seeds, replicas and epochs; without what cannot matter.

        Runs of equal settings are runs of one experiment, and may be averaged.
        """
        values = self.values()
        kept = {
            name: value
            for name, value in values.items()
            if name not in _OF_A_RUN and matters(name, values)
        }
        return RunSettings.from_values(
            self.task, self.model, depth=self.depth, values=kept | _OF_A_RUN
        )


# What one run of a setting has of its own, and what stands there in the setting.
_OF_A_RUN = {"training.seed": 0, "training.replicas": 1, "training.max_epochs": 1}


def matters(name: str, values: Mapping[str, Value]) -> bool:
    """Whether a key has an effect among such values: a norm has none where nothing is clipped."""
    condition = KEYS[name].only_if
    return condition is None or values.get(condition[0]) == condition[1]


# Where data lies.
PLACES = ("data.root", "data.mirror")

T = TypeVar("T")


def build(kind: type[T], group: str, *, values: Mapping[str, Value]) -> T:
    """The keys ``group.*`` as the dataclass ``kind``; texts of paths become paths."""
    taken: dict[str, Any] = _group(values, group, kind=kind)
    for name in ("root", "mirror"):
        if taken.get(name) is not None:
            taken[name] = Path(taken[name])
    return kind(**taken)


def _group(values: Mapping[str, Value], group: str, *, kind: type) -> dict[str, Any]:
    return {name: values[f"{group}.{name}"] for name in _names(kind) if f"{group}.{name}" in values}


def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]
