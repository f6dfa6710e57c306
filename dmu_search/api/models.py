"""Trained networks as plain torch modules."""

from pathlib import Path

from dmu_search.engine.networks.module import TrainedNetwork
from dmu_search.errors import ConfigError, StorageError
from dmu_search.folders import OutputFolder
from dmu_search.retraining.best import BEST_FILE
from dmu_search.retraining.exported import read_run_file
from dmu_search.study.files import STUDY_FILE
from dmu_search.tracking.models import MODEL_FOLDER, NETWORK_FILE, read_model


def load(path: str | Path) -> TrainedNetwork:
    """The network that a search found best, with the weights of its best epoch.

    Args:
        path: a best file, as ``runs/best/polymusic/dmu-d1.yaml``, or the folder of a study. Of
            several replicas, the one with the best validation result.

    Returns:
        A ``torch.nn.Module`` on the CPU: called with features ``(batch, time, feature)`` or words
        ``(batch, time)``, it gives linear outputs for each step, ``(batch, time, output)``.

    Raises:
        ConfigError: the path is neither.
        StorageError: the weights are not there.
    """
    given = Path(path)
    folder = given if (given / STUDY_FILE).is_file() else _study_of(given)
    if not (folder / MODEL_FOLDER / NETWORK_FILE).is_file():
        raise StorageError(
            f"{folder / MODEL_FOLDER}: there are no weights; a study has them once a trial used "
            "its whole budget"
        )
    return read_model(folder / MODEL_FOLDER)


def _study_of(path: Path) -> Path:
    """The folder of the study that wrote a best file, with the weights of just this setting."""
    if path.is_dir():
        raise ConfigError(f"{path}: has no {STUDY_FILE}; name a study's folder or a best file")
    if (path.parent / STUDY_FILE).is_file() and path.name == BEST_FILE:
        return path.parent
    source = read_run_file(path).provenance
    name = source.get("study")
    root = next((each for each in path.absolute().parents if each.name == "best"), None)
    folder = None if root is None else OutputFolder(root.parent).studies / str(name)
    if name is None or folder is None or not folder.is_dir():
        raise StorageError(
            f"{path}: the study with its weights is not beside it; train the setting with "
            f"`python -m dmu_search train config={path}`"
        )
    now = read_run_file(folder / BEST_FILE).provenance.get("trial")
    if now != source.get("trial"):
        raise StorageError(
            f"{path}: {name} has found a better setting since, and keeps its weights only; load "
            f"{folder / BEST_FILE}"
        )
    return folder
