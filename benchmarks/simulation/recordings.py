"""Which trainings our table holds, and how one of them is carried out and written down.

Each recording is a search space of the product, random settings of it, and the validation curves of
these settings, trained by the product's engine.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from dmu_search.config.compose import as_yaml_value
from dmu_search.config.keys import Value
from dmu_search.config.settings import PLACES
from dmu_search.data.loading import load_data
from dmu_search.engine.tasks import Task, task_class
from dmu_search.engine.training.trainer import Trainer
from dmu_search.names import TASKS
from dmu_search.study.proposals import Proposals
from dmu_search.study.settings import StudySettings, studies_of


@dataclass(frozen=True)
class Recording:
    """One part of the table: a task and a model, and how much of them is trained.

    Attributes:
        task: of the product.
        model: of the product, at the paper's shallowest depth for the task.
        settings: random ones from the shipped space; the published ones come before them.
        epochs: of a whole curve.
        seeds: replicas of each setting, seeded 0, 1, ..
        overrides: keys of ``tune`` that make an epoch short.
        valid_sequences: of the validation set, for tasks that make their own; None: the product's.
    """

    task: str
    model: str
    settings: int
    epochs: int
    seeds: int
    overrides: Mapping[str, Value]
    valid_sequences: int | None = None

    @property
    def name(self) -> str:
        """Task and model, as in ``adding-dmu``."""
        return f"{self.task}-{self.model}"

    @cached_property
    def study(self) -> StudySettings:
        """The study whose space is sampled and whose trials are trained."""
        own: dict[str, Value] = {
            "task": self.task,
            "model": self.model,
            "training.max_epochs": self.epochs,
            "training.replicas": self.seeds,
            # Whole curves, also of a training that has succeeded.
            "training.stop_below": None,
        }
        (study,) = studies_of({**own, **self.overrides})
        return study

    def drawn(self) -> Iterator[tuple[str, dict[str, Value]]]:
        """Source and values of each setting, in the order of their numbers."""
        study = self.study
        proposals = Proposals(
            study.space,
            sampler="random",
            seed=0,
            startup_trials=1,
            direction=TASKS[self.task].direction,
        )
        points = [(point.source, point.values) for point in study.warm_starts]
        for number, (source, given) in enumerate([*points, *[("random", {})] * self.settings]):
            yield source, proposals.propose(number, {}, given)

    def make_task(self) -> Task[Any, Any]:
        """The task over the data that is trained on."""
        data = load_data(self.task, self.study.data).task_data
        if self.valid_sequences is not None:
            data = replace(data, valid_sequences=self.valid_sequences)  # type: ignore[type-var]
        return task_class(self.task)(data)

    def about(self) -> dict[str, Any]:
        """What a reader of the recorded curves has to know of them."""
        study, task = self.study, self.make_task()
        data = load_data(self.task, study.data)
        return {
            "task": self.task,
            "model": self.model,
            "depth": study.depth,
            "epochs": self.epochs,
            "seeds": self.seeds,
            "loss": f"val_{task.objective}",
            "space": {name: str(each) for name, each in study.space.items()},
            "fixed": {
                name: as_yaml_value(value)
                for name, value in study.fixed.items()
                if name not in PLACES
            },
            "valid_sequences": self.valid_sequences,
            "data": data.name,
            "data_sha256": data.sha256,
            "torch": torch.__version__.partition("+")[0],
        }


# An epoch of 20 batches is a tenth of the product's.
_SYNTHETIC = {"data.batches_per_epoch": 20}
RECORDINGS = {
    each.name: each
    for each in (
        Recording("polymusic", "dmu", 300, 27, 1, {"depth": 1, "data.limit": 120}),
        Recording("polymusic", "rhn", 300, 27, 1, {"depth": 1, "data.limit": 120}),
        Recording("adding", "dmu", 400, 54, 5, _SYNTHETIC, 200),
        Recording("adding", "gru", 400, 54, 5, _SYNTHETIC, 200),
        Recording("tempord", "dmu", 400, 54, 5, _SYNTHETIC, 200),
        Recording("tempord", "gru", 400, 54, 5, _SYNTHETIC, 200),
    )
}


@dataclass(frozen=True)
class Curves:
    """What a training gave.

    Attributes:
        losses: validation objective of each replica after each epoch, ``[seed][epoch - 1]``; nan
            from the epoch on in which the replica diverged.
        seconds_per_epoch: processor time of all replicas together, validation included.
    """

    losses: tuple[tuple[float, ...], ...]
    seconds_per_epoch: float


def train(
    recording: Recording,
    task: Task[Any, Any],
    values: Mapping[str, Value],
    *,
    first_seed: int = 0,
    seeds: int | None = None,
) -> Curves:
    """Train one setting of a recording.

    Args:
        recording: that it is of.
        task: made by ``recording.make_task``; one serves all settings.
        values: of the space.
        first_seed: of replica 0.
        seeds: replicas; None: as many as the recording has.
    """
    run = recording.study.run(values)
    count = recording.seeds if seeds is None else seeds
    trainer = Trainer(task, run.network, replace(run.training, seed=first_seed, replicas=count))
    began = time.process_time()
    epochs = []
    while not trainer.finished:
        epochs.append(trainer.run_epoch().metrics[f"val_{task.objective}"])
    seconds = (time.process_time() - began) / len(epochs)
    epochs += [(math.nan,) * count] * (recording.epochs - len(epochs))
    return Curves(tuple(zip(*epochs, strict=True)), seconds)


def line_of(
    number: int, source: str, values: Mapping[str, Value], curves: Curves
) -> dict[str, Any]:
    """A finished setting as JSON holds it; nan is null."""
    return {
        "setting": number,
        "source": source,
        "values": {name: as_yaml_value(value) for name, value in values.items()},
        "seconds_per_epoch": curves.seconds_per_epoch,
        "losses": [
            [None if math.isnan(loss) else float(f"{loss:.6g}") for loss in of_seed]
            for of_seed in curves.losses
        ],
    }
