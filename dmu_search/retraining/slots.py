"""Where the best setting of a task, model, depth and data is kept."""

import re
from pathlib import Path

from dmu_search.paper.data import is_published_data
from dmu_search.retraining.comparison import Result
from dmu_search.retraining.exported import RunFile

# Folder names that every system can hold.
_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_LONGEST = 40
_DIGITS = 8


def paper_slot(best: Path, task: str, *, model: str, depth: int) -> Path:
    """The file of the best setting on the data that the paper's results are on.

    Args:
        best: the folder of the best settings.
        task: what is learned.
        model: the recurrent network.
        depth: its layers.
    """
    return best / task / f"{model}-d{depth}.yaml"


def slot_of(best: Path, file: RunFile, *, result: Result) -> Path:
    """The file that a setting found by a study competes for: one for each data set.

    Args:
        best: the folder of the best settings.
        file: the setting.
        result: of it.
    """
    paper = paper_slot(best, file.task, model=file.model, depth=file.depth)
    if is_published_data(file.task, file.data, name=result.data):
        return paper
    return paper.parent / _folder_name(result) / paper.name


def _folder_name(result: Result) -> str:
    """Readable by the data's name, and its own by the data's hash: ``my-tunes-0a1b2c3d``."""
    readable = _UNSAFE.sub("-", result.data)[:_LONGEST].strip("-.")
    return "-".join(filter(None, (readable, result.data_sha256[:_DIGITS])))
