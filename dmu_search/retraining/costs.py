"""What the trainings of a plan will cost."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from dmu_search.config.settings import RunSettings
from dmu_search.data.loading import LoadedData, make_task
from dmu_search.engine.training.trainer import Trainer
from dmu_search.results.trainings import RecordedRun
from dmu_search.retraining.needs import Job

_PROBE_S = 0.5


@dataclass(frozen=True)
class Estimate:
    """A job and the seconds it will take on one worker, at most."""

    job: Job
    seconds: float


def estimates_of(
    jobs: Sequence[Job], recorded: Sequence[RecordedRun], *, data: LoadedData
) -> tuple[Estimate, ...]:
    """What each job will cost, the longest first; trains for a moment where nothing like it ran.

    Args:
        jobs: the trainings.
        recorded: trainings of the past.
        data: of all jobs.
    """
    torch.set_num_threads(1)

    def probe(run: RunSettings) -> float:
        task = make_task(run.task, data[run.task, run.data])
        return Trainer(task, run.network, training=run.training).seconds_per_epoch(_PROBE_S)

    estimates = [Estimate(job, seconds_of(job, recorded, probe=probe)) for job in jobs]
    return tuple(sorted(estimates, key=lambda each: -each.seconds))


def seconds_of(
    job: Job, recorded: Sequence[RecordedRun], *, probe: Callable[[RunSettings], float]
) -> float:
    """What a job will cost on one worker: from like trainings, else from a probe.

    Args:
        job: the training.
        recorded: trainings of the past.
        probe: measures the seconds of an epoch of a run.
    """
    like = [each for each in recorded if each.run.setting == job.run.setting and each.epochs]
    if like:
        epochs = sum(each.epochs * each.run.training.replicas for each in like)
        per_epoch = sum(each.seconds for each in like) / epochs * job.run.training.replicas
    else:
        per_epoch = probe(job.run)
    return per_epoch * job.epochs_left


def by_neighbour(
    run: RunSettings, recorded: Iterable[RecordedRun]
) -> tuple[float, RecordedRun] | None:
    """About what a training will cost, from one of a network near it, and that training.

    The seconds grow with replicas, epochs and depth.

    Args:
        run: the training.
        recorded: trainings of the past.

    Returns:
        Seconds on one worker, from the training of the same task whose model and depth are
        nearest; None where there is none.
    """
    own = [each for each in recorded if each.run.task == run.task and each.epochs]
    if not own:
        return None

    def distance(each: RecordedRun) -> tuple[bool, float]:
        return each.run.model != run.model, abs(math.log(each.run.depth / run.depth))

    near = min(own, key=lambda each: (*distance(each), -each.epochs))
    per_epoch = near.seconds / (near.epochs * near.run.training.replicas) / near.run.depth
    training = run.training
    return per_epoch * run.depth * training.max_epochs * training.replicas, near
