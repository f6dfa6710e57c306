import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from dmu_search.data import DataFile
from dmu_search.data.files import MIRROR_VARIABLE
from dmu_search.engine.tasks.polymusic import NOTES, Roll

CONTENT = b"a data file\n" * 100


@pytest.fixture(scope="session")
def real_file():
    """Find a real file in a mirror folder by its name; the test is skipped where it is not."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get(MIRROR_VARIABLE) or beside)

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"no real {name}: set {MIRROR_VARIABLE} to a folder that has it")
        return folder / name

    return find


@pytest.fixture
def data_file():
    """A small declared file whose address refuses connections: port 9 is the discard service."""
    return DataFile(
        name="tunes.bin",
        url="http://127.0.0.1:9/tunes.bin",
        size_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        citation="ours",
        way_around="data.corpus=demo needs no file",
    )


@pytest.fixture
def random_roll() -> Roll:
    """Sparse notes on all 88 pitches, some held, with silence at the beginning."""
    roll = (np.random.default_rng(0).random((120, NOTES)) < 0.2).astype(np.uint8)
    roll[:3] = 0
    roll[-1, 40] = 1
    return roll
