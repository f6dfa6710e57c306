import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from dmu_search.data import DataStore
from dmu_search.data.corpus import content_sha256
from dmu_search.data.demo import DEMO_TUNES, ensure_demo, read_demo
from dmu_search.data.tunes import CHORDS, compose_tune
from dmu_search.errors import DataError


@pytest.fixture(scope="module")
def demo(demo_store):
    return read_demo(ensure_demo(demo_store))


def test_the_corpus_never_changes(demo):
    # A new digest is a new corpus: name it demo-midi-v2, or caches keep the old one.
    assert (
        content_sha256(demo) == "b7cf7251848b9453cbedf4022443209da259b3ce8be25715521a5465f589ea50"
    )


def test_it_looks_like_folk_music(demo):
    assert [len(demo.train), len(demo.valid), len(demo.test)] == [64, 16, 16]
    lengths = [len(roll) for roll in demo.train]
    assert 40 <= min(lengths) <= 100
    assert 250 <= max(lengths) <= 260
    notes_per_step = np.concatenate(demo.train).sum(axis=1)
    assert 3.5 < notes_per_step.mean() < 4.5
    assert np.mean((notes_per_step >= 3) & (notes_per_step <= 5)) > 0.95


def test_the_notes_before_tell_the_next_beyond_what_is_frequent(demo):
    train, test = demo.train, np.concatenate(demo.test[:8])
    before = np.concatenate([roll[:-1] for roll in train])
    after = np.concatenate([roll[1:] for roll in train])
    # Add-one estimates of each note's probability, given nothing and given the same note before.
    marginal = (after.sum(axis=0) + 1) / (len(after) + 2)
    given = [
        (((before == was) & (after == 1)).sum(axis=0) + 1) / ((before == was).sum(axis=0) + 2)
        for was in (0, 1)
    ]
    following = np.where(test[:-1] == 1, given[1], given[0])
    assert nll_nats(following, test[1:]) < 0.75 * nll_nats(marginal, test[1:])


def nll_nats(probability, roll):
    return -np.log(np.where(roll == 1, probability, 1 - probability)).sum(axis=1).mean()


@pytest.mark.parametrize("seed", range(20))
def test_a_tune_is_one_line_over_known_chords(seed):
    tune = compose_tune(Random(seed))
    assert tune == compose_tune(Random(seed))
    for note, following in pairwise(tune.melody):
        assert note.start + note.length == following.start
    assert np.abs(np.diff([note.pitch for note in tune.melody])).mean() < 4
    starts = sorted({note.start for note in tune.accompaniment})
    for start in starts:
        chord = tuple(note.pitch for note in tune.accompaniment if note.start == start)
        assert chord in CHORDS.values()
    assert tune.melody[-1].pitch % 12 in (0, 9)


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.mid")}


@pytest.mark.slow
def test_processes_that_start_together_write_the_same_bytes_once(tmp_path, demo_store):
    store = DataStore(root=tmp_path)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(ensure_demo, [store, store]))
    assert folders[0] == folders[1]
    assert list(tmp_path.iterdir()) == [folders[0]]
    expected = contents(ensure_demo(demo_store))
    assert len(expected) == sum(DEMO_TUNES.values())
    assert contents(folders[0]) == expected


def test_a_cache_folder_that_cannot_be_written_names_the_setting(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written .*data\.root=FOLDER"):
        ensure_demo(DataStore(root=tmp_path / "file"))


def test_a_tune_that_was_deleted_is_missed(demo_store, tmp_path):
    folder = Path(shutil.copytree(ensure_demo(demo_store), tmp_path / "demo"))
    (folder / "valid" / "03.mid").unlink()
    with pytest.raises(DataError, match=f"16 demo tunes expected, got 15; delete {folder}"):
        read_demo(folder)
