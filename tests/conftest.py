import os

# Two test processes and Ray's workers share two cores: more threads would only wait for each other.
# OpenMP reads this when torch is loaded, which the imports below do.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hashlib
import io
from dataclasses import replace
from zipfile import ZipFile

import pytest
from xdist.scheduler import LoadFileScheduling

# So that an assertion of a contract shows its values.
pytest.register_assert_rewrite("dmu_search.testing")

from dmu_search.data import DataStore, pairs, treebank
from dmu_search.data.demo import ensure_demo
from dmu_search.retraining import sources


class ByFileOrRay(LoadFileScheduling):
    """Whole files for a test process; those that share a Ray are for the same one."""

    def _split_scope(self, nodeid):
        return (
            "tests/on_ray" if nodeid.startswith("tests/on_ray/") else super()._split_scope(nodeid)
        )


def pytest_xdist_make_scheduler(config, log):
    return ByFileOrRay(config, log)


def pytest_collection_modifyitems(items):
    """Longest files first, so that no test process ends long after the other."""
    first = ("tests/on_ray/", "tests/cli/test_whole.py", "tests/tracking")
    items.sort(key=lambda item: not item.nodeid.startswith(first))


@pytest.fixture(autouse=True)
def _nothing_shipped(tmp_path_factory, monkeypatch):
    """Tests know of no best settings but their own; those shipped may change any day."""
    nowhere = tmp_path_factory.getbasetemp() / "nothing-shipped"
    monkeypatch.setattr(sources, "configuration_root", lambda: nowhere)


@pytest.fixture(scope="session")
def demo_store(tmp_path_factory):
    """A cache folder in which the demo corpus is already written."""
    store = DataStore(root=tmp_path_factory.mktemp("demo"))
    ensure_demo(store)
    return store


SMALL_TEXT = {
    "train": " the cat sat on the mat \n the dog sat \n" * 30 + " <unk> \n",
    "valid": " the cat sat \n the dog sat on the mat \n" * 10,
    "test": " the <unk> sat \n the cat sat on the dog \n" * 10,
}


def small_pairs(count: int = 40) -> str:
    """Lines as of manythings.org/anki, with accents, capitals, numbers and an attribution."""
    animals = (("cat", "gato"), ("dog", "perro"), ("bird", "pájaro"), ("cow", "vaca"))
    deeds = (("sleeps", "duerme"), ("eats", "come"), ("can't see", "no ve"))
    lines = []
    for number in range(count):
        (animal, otro), (deed, hecho) = animals[number % 4], deeds[number % 3]
        often = " again" * (number % 5)
        lines.append(
            f"The {animal} {deed}{often}!\t¡El {otro} {hecho}{often and ' otra vez'}!\tCC-BY 2.0"
        )
    return "\n".join([*lines, "It's 7.\t¿Son las 7?"]) + "\n"


def zipped(text: str, name: str = "spa.txt") -> bytes:
    """A zip as of manythings.org/anki."""
    content = io.BytesIO()
    with ZipFile(content, "w") as archive:
        archive.writestr("_about.txt", "not sentences")
        archive.writestr(name, text)
    return content.getvalue()


@pytest.fixture
def small_files(tmp_path, monkeypatch):
    """A cache folder with all text files, of a few words and declared like the real ones."""
    (tmp_path / "ptb").mkdir()
    texts = {f"ptb-{split}": text.encode() for split, text in SMALL_TEXT.items()}
    zips = dict.fromkeys(pairs.FILES, zipped(small_pairs()))
    for files, contents in ((treebank.FILES, texts), (pairs.FILES, zips)):
        for name, content in contents.items():
            (tmp_path / files[name].name).write_bytes(content)
            if files[name].sha256 is not None:
                digest = hashlib.sha256(content).hexdigest()
                small = replace(files[name], size_bytes=len(content), sha256=digest)
                monkeypatch.setitem(files, name, small)
    return tmp_path
