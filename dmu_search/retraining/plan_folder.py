"""Trainings as a folder that is carried to another machine."""

import time
from collections.abc import Sequence
from pathlib import Path

from dmu_search.data.loading import LoadedData
from dmu_search.engine.plans.plan_file import write_plan
from dmu_search.engine.plans.runs import PlannedRun
from dmu_search.folders import OutputFolder, make_unique_folder
from dmu_search.retraining.needs import Job
from dmu_search.retraining.run import plan_run


def write_plan_folder(jobs: Sequence[Job], data: LoadedData, *, output_dir: Path) -> Path:
    """Write the trainings and their data to a new folder, equal data once.

    Args:
        jobs: new trainings; one that was cut off has its checkpoint here, not there.
        data: of all jobs.
        output_dir: gets the folder.

    Returns:
        The folder.

    Raises:
        StorageError: it cannot be written.
    """
    plans = OutputFolder(output_dir).plans
    folder = make_unique_folder(plans, time.strftime("plan-%Y%m%d-%H%M%S"))
    names: dict[str, str] = {}
    runs: list[tuple[PlannedRun, str]] = []
    for number, job in enumerate(jobs):
        own = data[job.run.task, job.run.data]
        name = names.setdefault(own.sha256, f"data-{len(names)}-{own.name}")
        title = f"{folder.name}-{number:03d}-{job.need.title}"
        runs.append(
            (plan_run(title, job.run, data=own, tags={"source": ",".join(job.need.sources)}), name)
        )
    needed = {names[one.sha256]: one.task_data for one in data.values() if one.sha256 in names}
    write_plan(folder, runs, data=needed)
    return folder
