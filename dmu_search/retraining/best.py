"""Keeping the best configuration of a study, and of all studies of a task, model and depth."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmu_search.config.settings import RunSettings
from dmu_search.engine.tasks import TASKS
from dmu_search.errors import ConfigError
from dmu_search.folders import OutputFolder
from dmu_search.names import signed_loss
from dmu_search.retraining.exported import read_run_file, write_run_file
from dmu_search.study.settings import StudySettings


@dataclass(frozen=True)
class Kept:
    """Where the best of a study went.

    Attributes:
        own: the study's own file.
        best: the file of the task, model and depth.
        replaced: whether ``best`` now holds this study's.
        reason: why it does or does not, in words.
    """

    own: Path
    best: Path
    replaced: bool
    reason: str


def best_path(output_dir: Path, run: RunSettings | StudySettings) -> Path:
    """Where the best configuration of a task, model and depth is kept."""
    return OutputFolder(output_dir).best / run.task / f"{run.model}-d{run.depth}.yaml"


def keep_best(
    study_folder: Path, output_dir: Path, run: RunSettings, source: Mapping[str, Any]
) -> Kept:
    """Write the study's own file, and replace the common one if this is better.

    A better result is a better objective on the same data after at least as many epochs, both being
    the mean, or whatever ``search.objective`` names, over replicas; a result on the real corpus
    replaces one on the demo corpus, never the other way round.

    Raises:
        StorageError: a folder cannot be written.
    """
    own, best = study_folder / "best.yaml", best_path(output_dir, run)
    write_run_file(own, run, source)
    replaces, reason = _compare(best, run, source)
    if replaces:
        write_run_file(best, run, source)
    return Kept(own, best, replaces, reason)


def _compare(best: Path, run: RunSettings, source: Mapping[str, Any]) -> tuple[bool, str]:
    if not best.exists():
        return True, "the first of its task, model and depth"
    try:
        kept = read_run_file(best)
        old_epochs = int(str(kept.values["training.max_epochs"]))
        single = kept.values["training.replicas"] == run.training.replicas == 1
        old = kept.result
    except (ConfigError, KeyError):
        old = None
    if old is None:
        return False, f"kept as it is: {best} was not written by a study; move it away first"
    if old.data_sha256 != source["data"]["sha256"]:
        if old.data == "demo" and source["data"]["name"] != "demo":
            return True, "replaces one found on the demo corpus"
        return False, f"kept as it is: {best} was found on other data ({old.data})"
    if run.training.max_epochs < old_epochs:
        return False, f"kept as it is: {best} had {old_epochs} epochs, more than this study's"
    if not single and old.rule != source["search_objective"]:
        return False, f"kept as it is: {best} was chosen by {old.rule}; move it away first"
    direction = TASKS[run.task].direction
    if signed_loss(source["objective"], direction) >= signed_loss(old.objective, direction):
        return False, f"kept as it is: {best} has {old.objective:.4g}, at least as good"
    return True, f"replaces {old.objective:.4g}"
