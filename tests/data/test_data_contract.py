"""The data of every task keeps its contract."""

import pytest

from dmu_search.data.settings import DataSettings
from dmu_search.names import TASKS
from dmu_search.testing import DataContract
from tests.tables import GENERATED, MUSIC, ON_FILES


class Small:
    """Rules for short sequences, the demo corpus, and text of a few words."""

    @pytest.fixture(autouse=True)
    def _few(self, small_files, demo_store):
        root = demo_store.root if self.task in MUSIC else small_files
        self.data_settings = DataSettings(
            corpus="demo",
            step="1/8",
            transpose=False,
            root=root,
            limit=5,
            length=12,
            batches_per_epoch=2,
            pairs="all",
        )


for _task in TASKS:
    if _task in (*GENERATED, *ON_FILES):
        globals()[f"Test_{_task}"] = type(f"Test_{_task}", (Small, DataContract), {"task": _task})
