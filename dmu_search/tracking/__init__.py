"""Recorded runs in MLflow; the only users of MLflow."""

from dmu_search.tracking.recorder import Tracking, check_tracking, open_tracking, sync_records

__all__ = ["Tracking", "check_tracking", "open_tracking", "sync_records"]
