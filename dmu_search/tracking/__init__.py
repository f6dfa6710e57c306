"""Recorded runs in MLflow; the only users of MLflow."""

from dmu_search.tracking.recorder import (
    SETTLED_WITHIN_S,
    Tracking,
    bring_in,
    check_tracking,
    open_tracking,
    sync_records,
)

__all__ = [
    "SETTLED_WITHIN_S",
    "Tracking",
    "bring_in",
    "check_tracking",
    "open_tracking",
    "sync_records",
]
