"""What every cell, task and data set must do, as classes of tests for your own.

Subclass one in a test module, say what it is about, and pytest collects the rest::

    from dmu_search.testing import CellContract

    class TestMinGRU(CellContract):
        model = "mingru"

Nothing here needs pytest: the methods are plain and assert.
"""

from dmu_search.testing.cells import CellContract
from dmu_search.testing.data import DataContract
from dmu_search.testing.tasks import TaskContract
from dmu_search.testing.training import TrainingContract

__all__ = ["CellContract", "DataContract", "TaskContract", "TrainingContract"]
