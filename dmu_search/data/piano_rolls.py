"""Piano rolls from a MATLAB file in the layout of ``Nottingham.mat``.

This module alone imports scipy, inside the function that reads, so that the other corpora work
without it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmu_search.engine.tasks.polymusic import NOTES, PianoRolls, Roll
from dmu_search.errors import DataError

# MIDI number of column 0, the lowest key of a piano.
LOWEST_NOTE = 21


def read_piano_rolls(path: Path) -> PianoRolls:
    """Read the three splits of a ``.mat`` file.

    Args:
        path: a file with the cell arrays ``traindata``, ``validdata`` and ``testdata``, each cell
            ``(time, 88)`` with 1 where a note sounds; column 0 is MIDI note 21.

    Returns:
        Rolls ``(time, 88)``, in the order of the file.

    Raises:
        DataError: the file is no such MATLAB file.
    """
    content = _load(path)
    return PianoRolls(
        train=_read_split(content, "traindata", path=path),
        valid=_read_split(content, "validdata", path=path),
        test=_read_split(content, "testdata", path=path),
    )


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        return loadmat(path)
    # scipy raises whatever its parser trips over: ValueError, TypeError, zlib.error and others.
    except Exception as error:
        raise DataError(f"{path}: cannot be read as a MATLAB file ({error})") from error


def _read_split(content: dict[str, Any], key: str, *, path: Path) -> tuple[Roll, ...]:
    if key not in content:
        found = ", ".join(name for name in content if not name.startswith("__")) or "none"
        raise DataError(f"{path}: the key {key} is missing; keys found: {found}")
    cells = content[key]
    if cells.dtype != object or cells.size == 0:
        raise DataError(f"{path}: {key} must be a cell array with at least one piano roll")
    return tuple(
        _to_roll(cell, f"{path}: {key}[{number}]") for number, cell in enumerate(cells.flat)
    )


def _to_roll(cell: NDArray[Any], where: str) -> Roll:
    if cell.ndim != 2 or cell.shape[1] != NOTES or cell.shape[0] == 0:
        raise DataError(f"{where}: must have the shape (time, {NOTES}), got {cell.shape}")
    if not np.isin(cell, (0, 1)).all():
        raise DataError(f"{where}: must hold only 0 and 1, got values up to {cell.max()}")
    return np.ascontiguousarray(cell, dtype=np.uint8)
