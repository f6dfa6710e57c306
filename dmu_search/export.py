"""Keeping the best configuration of a study, and of all studies of a task, model and depth."""

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from subprocess import DEVNULL, CalledProcessError, check_output
from typing import Any

import dmu_search
from dmu_search.config.exported import read_run_file, write_run_file
from dmu_search.config.settings import RunSettings
from dmu_search.config.study import StudySettings
from dmu_search.data import Data
from dmu_search.engine.tasks import TASKS, rank
from dmu_search.errors import ConfigError

_PACKAGES = ("torch", "numpy", "ray", "optuna", "mlflow", "hydra-core")


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
    return output_dir / "best" / run.task / f"{run.model}-d{run.depth}.yaml"


def provenance(
    *, study: str, data: Data, metrics: Mapping[str, float], **more: object
) -> dict[str, object]:
    """What a reader needs to trust, or repeat, a configuration."""
    return {
        "study": study,
        **more,
        "metrics": dict(metrics),
        "data": {"name": data.name, "sha256": data.sha256, "sequences": dict(data.sequences)},
        "code": {"dmu_search": dmu_search.__version__, "commit": code_commit()},
        "packages": package_versions(),
        "python": platform.python_version(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


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
    if rank(source["objective"], direction) >= rank(old.objective, direction):
        return False, f"kept as it is: {best} has {old.objective:.4g}, at least as good"
    return True, f"replaces {old.objective:.4g}"


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def code_commit() -> str:
    """The commit of the repository that the package is run from, with ``+`` for local changes."""
    folder = Path(dmu_search.__file__).resolve().parent
    if not (folder.parent / ".git").exists():
        return "installed"
    try:
        commit = check_output(["git", "-C", str(folder), "rev-parse", "HEAD"], stderr=DEVNULL)
        status = ["git", "-C", str(folder), "status", "--porcelain", "-uno"]
        changed = check_output(status, stderr=DEVNULL)
    except (CalledProcessError, OSError):
        return "unknown"
    return commit.decode().strip() + ("+" if changed.strip() else "")
