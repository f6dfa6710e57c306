import hashlib
import os
from dataclasses import replace

import pytest

from dmu_search.data.files import DATA_FILES

# Two test processes and Ray's workers share two cores: more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """Longest files first, so that no test process ends long after the other."""
    first = ("tests/tune/test_search.py", "tests/cli/test_whole.py", "tests/tracking")
    items.sort(key=lambda item: not item.nodeid.startswith(first))


SMALL_TEXT = {
    "train": " the cat sat on the mat \n the dog sat \n" * 30 + " <unk> \n",
    "valid": " the cat sat \n the dog sat on the mat \n" * 10,
    "test": " the <unk> sat \n the cat sat on the dog \n" * 10,
}


@pytest.fixture
def small_files(tmp_path, monkeypatch):
    """A cache folder with texts of a few words, declared like the Penn Treebank's."""
    (tmp_path / "ptb").mkdir()
    for split, text in SMALL_TEXT.items():
        name, content = f"ptb-{split}", text.encode()
        (tmp_path / DATA_FILES[name].name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        small = replace(DATA_FILES[name], size_bytes=len(content), sha256=digest)
        monkeypatch.setitem(DATA_FILES, name, small)
    return tmp_path
