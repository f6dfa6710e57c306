"""What the data of every task must do."""

import re
from dataclasses import replace
from typing import ClassVar
from unittest import SkipTest

import numpy as np

from dmu_search.data.loading import load_data
from dmu_search.data.settings import DataSettings
from dmu_search.engine.training.trainer import PREFIXES
from dmu_search.names import TASKS

SPLITS = tuple(PREFIXES)


class DataContract:
    """The data of a task of ``dmu_search.names.TASKS``, as its row loads it.

    Attributes:
        task: its name.
        data_settings: which of its data; small ones make quick tests.
    """

    task: ClassVar[str]
    data_settings: DataSettings = DataSettings(limit=12)

    def test_it_says_what_it_is(self) -> None:
        """Name, hash, sizes and one line of description, as records and screens show them."""
        data = load_data(self.task, self.data_settings)
        assert data.name
        assert re.fullmatch("[0-9a-f]{64}", data.sha256), data.sha256
        assert data.warning is None or data.warning
        assert {split: count > 0 for split, count in data.sequences.items()} == dict.fromkeys(
            SPLITS, True
        )
        assert data.steps_per_epoch(2) >= 1
        assert data.name in data.describe()
        assert "\n" not in data.describe()

    def test_it_is_the_same_each_time(self) -> None:
        """Equal settings give equal arrays, and so equal hashes."""
        first, second = (load_data(self.task, self.data_settings) for _ in range(2))
        assert first.sha256 == second.sha256
        own, other = first.task_data.to_arrays(), second.task_data.to_arrays()
        assert own.keys() == other.keys()
        for name, values in own.items():
            np.testing.assert_array_equal(values, other[name])

    def test_a_limit_keeps_the_first_of_each_split(self) -> None:
        """``data.limit`` counts sequences, and other data has another hash."""
        if TASKS[self.task].data == "generated":
            raise SkipTest("rules make as many sequences as are asked for")
        whole = load_data(self.task, self.data_settings)
        less = load_data(self.task, replace(self.data_settings, limit=2))
        assert all(count <= 2 for count in less.sequences.values()), less.sequences
        assert (less.sha256 == whole.sha256) == (less.sequences == whole.sequences)
