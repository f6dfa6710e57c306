"""Trainers brought back from snapshots on disk, whatever became of the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dmu_search.engine.training.trainer import Trainer


def read_snapshot(path: Path) -> dict[str, Any] | None:
    """What ``Trainer.state_dict`` gave, as it was saved; None where it is missing or damaged."""
    try:
        # A pipe in the place of the file would wait for ever.
        state = torch.load(path, weights_only=True, map_location="cpu") if path.is_file() else None
    except Exception:  # Whatever torch makes of a damaged file.
        return None
    return state if isinstance(state, dict) else None


def resumed(make: Callable[[], Trainer], path: Path) -> Trainer | None:
    """A trainer in the state of a snapshot; None where that is missing, damaged or of another one.

    Args:
        make: gives a trainer at its start.
        path: of the snapshot.
    """
    state = read_snapshot(path)
    if state is None:
        return None
    trainer = make()
    try:
        trainer.load_state_dict(state)
    except Exception:  # Half of a state, or a state of another network.
        return None
    return trainer
