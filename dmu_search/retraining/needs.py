"""What the paper's tables and figures still need, found among the recorded runs and trained."""

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dmu_search.config.keys import Value
from dmu_search.config.settings import RunSettings
from dmu_search.data import Data
from dmu_search.data.loading import LoadedData
from dmu_search.engine.plans.runs import PlannedRun
from dmu_search.folders import make_unique_folder
from dmu_search.paper.published import published
from dmu_search.results.trainings import RecordedRun
from dmu_search.retraining.run import plan_run
from dmu_search.retraining.sources import Settings, Sourced, sourced


@dataclass(frozen=True)
class Need:
    """A setting that a table or figure shows, and how much of it is recorded.

    Attributes:
        sources: whose setting it is; the paper's and the release's are often the same.
        run: the setting, for all of its seeds.
        recorded: seeds that are done.
        unfinished: recorded trainings that were cut off; they are resumed.
        missing: seeds of which there is nothing yet.
    """

    sources: tuple[str, ...]
    run: RunSettings
    recorded: tuple[int, ...]
    unfinished: tuple[RecordedRun, ...]
    missing: tuple[int, ...]

    @property
    def title(self) -> str:
        """As in ``polymusic-dmu-d1-paper``."""
        return f"{self.run.task}-{self.run.model}-d{self.run.depth}-{'-'.join(self.sources)}"


@dataclass(frozen=True)
class Job:
    """One training to be carried out.

    Attributes:
        need: what it is for.
        run: the setting with this training's own seeds.
        continues: the recorded training that it resumes; None for a new one.
    """

    need: Need
    run: RunSettings
    continues: RecordedRun | None = None

    @property
    def epochs_left(self) -> int:
        """Epochs still to train, at most."""
        done = 0 if self.continues is None else self.continues.epochs
        return max(0, self.run.training.max_epochs - done)


def settings_for(
    tasks: Sequence[str],
    models: Sequence[str],
    *,
    depths: Sequence[int],
    sources: Sequence[str],
    output_dir: Path,
    given: Mapping[str, Value],
) -> tuple[tuple[tuple[str, ...], Sourced], ...]:
    """The settings that the tables and figures of these tasks show, equal ones once.

    Args:
        tasks: whose tables and figures.
        models: of these models only.
        depths: of these depths only; empty for all.
        sources: ``paper``, ``released``, ``best``.
        output_dir: where the best settings found are looked for first.
        given: values that replace the sources' own.

    Returns:
        The sources that share a setting, and the setting.
    """
    found: dict[RunSettings, tuple[tuple[str, ...], Sourced]] = {}
    for task in tasks:
        for model, depth in published(task).networks():
            if model not in models or (depths and depth not in depths):
                continue
            for source in sources:
                one = sourced(
                    source, task, model=model, depth=depth, output_dir=output_dir, given=given
                )
                if one is None:
                    continue
                names, first = found.get(one.run, ((), one))
                found[one.run] = ((*names, source), first)
    return tuple(found.values())


def needs_of(
    settings: Settings,
    recorded: Sequence[RecordedRun],
    *,
    data: LoadedData,
) -> tuple[Need, ...]:
    """What of each setting is recorded, was cut off, or is missing."""
    return tuple(
        _need(names, one.run, recorded=recorded, data=data[one.run.task, one.run.data])
        for names, one in settings
    )


def _need(
    names: tuple[str, ...], run: RunSettings, *, recorded: Sequence[RecordedRun], data: Data
) -> Need:
    training = run.training
    open_seeds = set(range(training.seed, training.seed + training.replicas))
    same = [
        each
        for each in recorded
        if each.run.setting == run.setting
        and each.run.training.max_epochs == training.max_epochs
        and each.data_sha256 == data.sha256
    ]
    done = {replica.seed for each in same if each.ended for replica in each.replicas} & open_seeds
    open_seeds -= done
    unfinished = []
    for each in sorted(same, key=lambda one: -one.epochs):
        own = {replica.seed for replica in each.replicas}
        if not each.ended and own <= open_seeds:
            unfinished.append(each)
            open_seeds -= own
    return Need(names, run, tuple(sorted(done)), tuple(unfinished), tuple(sorted(open_seeds)))


def jobs_of(needs: Sequence[Need], workers: int) -> tuple[Job, ...]:
    """The trainings that fill all needs: cut-off ones first, then the missing seeds.

    Seeds of a setting train as one program, in more pieces only where workers would be idle.
    """
    jobs = [Job(need, each.run, each) for need in needs for each in need.unfinished]
    lacking = [need for need in needs if need.missing]
    pieces = max(1, math.ceil((workers - len(jobs)) / max(len(lacking), 1)))
    for need in lacking:
        for first, count in _rows_of_seeds(need.missing, pieces):
            training = replace(need.run.training, seed=first, replicas=count)
            jobs.append(Job(need, replace(need.run, training=training)))
    return tuple(jobs)


def _rows_of_seeds(seeds: Sequence[int], pieces: int) -> list[tuple[int, int]]:
    """Consecutive seeds, in about ``pieces`` rows of about equal length: (first, count)."""
    rows = []
    longest = math.ceil(len(seeds) / pieces)
    for _, group in itertools.groupby(enumerate(seeds), key=lambda pair: pair[1] - pair[0]):
        row = [seed for _, seed in group]
        rows += [(row[i], len(row[i : i + longest])) for i in range(0, len(row), longest)]
    return rows


def planned(job: Job, data: Data, *, folders: Path) -> PlannedRun:
    """The training of ``job``: under the name of the one that it resumes, or a new one.

    Args:
        job: what to train.
        data: of its task.
        folders: where a training has its own folder, by name.

    Raises:
        StorageError: the folder cannot be made.
    """
    tags = {"source": ",".join(job.need.sources)}
    if job.continues is not None:
        return plan_run(job.continues.run_id, job.run, data=data, tags=tags)
    title = f"{job.need.title}-{time.strftime('%Y%m%d-%H%M%S')}"
    return plan_run(make_unique_folder(folders, title).name, job.run, data=data, tags=tags)
