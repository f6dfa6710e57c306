from dataclasses import replace

import numpy as np
import pytest

from dmu_search.data import DataStore, corpus, file_status
from dmu_search.data.corpus import content_sha256, load_piano_rolls
from dmu_search.engine.tasks.polymusic import PianoRolls
from dmu_search.errors import ConfigError, DataError

NOTTINGHAM = corpus.FILES["nottingham"]


@pytest.fixture
def offline(monkeypatch):
    """Upstream refuses the connection, on a machine with network too."""
    monkeypatch.setenv("NO_PROXY", "*")
    dead = replace(NOTTINGHAM, url="http://127.0.0.1:9/Nottingham.mat")
    monkeypatch.setitem(corpus.FILES, "nottingham", dead)


def test_nottingham_is_what_the_paper_trains_on(real_file, tmp_path):
    file = real_file(NOTTINGHAM.name)
    store = DataStore(root=tmp_path, mirror=file.parent)
    corpus = load_piano_rolls("nottingham", store)
    assert file_status(NOTTINGHAM, store).state == "ok"
    assert corpus.source == file
    assert (corpus.name, corpus.warning) == ("nottingham", None)
    assert corpus.sequences == {"train": 694, "valid": 173, "test": 170}
    assert corpus.steps == {"train": 176_561, "valid": 45_513, "test": 44_463}
    assert corpus.mean_notes_per_step == pytest.approx(3.97, abs=0.005)
    assert corpus.sha256 == "cb71f38ffab43b50c166e7a78b3e091a029701d6dd2627183fa960bf602a2e5c"
    assert corpus.describe() == (
        "nottingham: 694 / 173 / 170 sequences, 176,561 / 45,513 / 44,463 steps, "
        f"3.97 notes per step, from {corpus.source}"
    )
    assert list(tmp_path.iterdir()) == []


def test_auto_is_nottingham_where_it_is_found(real_file, tmp_path):
    mirror = real_file(NOTTINGHAM.name).parent
    corpus = load_piano_rolls("auto", DataStore(root=tmp_path, mirror=mirror), limit=3)
    assert (corpus.name, corpus.warning) == ("nottingham", None)


def test_auto_is_the_demo_with_a_warning_where_nottingham_is_not(demo_store, offline):
    corpus = load_piano_rolls("auto", demo_store)
    assert corpus.name == "demo"
    assert "not comparable with the paper" in corpus.warning
    assert "refused" in corpus.warning
    assert "\n" not in corpus.warning


@pytest.mark.parametrize("corpus", ["auto", "nottingham"])
def test_an_altered_file_is_never_replaced_by_the_demo(tmp_path, corpus):
    (tmp_path / NOTTINGHAM.name).write_bytes(b"\0" * NOTTINGHAM.size_bytes)
    with pytest.raises(DataError, match="altered: sha256"):
        load_piano_rolls(corpus, DataStore(root=tmp_path))


def test_a_mistaken_mirror_is_never_replaced_by_the_demo(tmp_path):
    with pytest.raises(DataError, match="mirror folder does not exist"):
        load_piano_rolls("auto", DataStore(root=tmp_path, mirror=tmp_path / "nowhere"))


def test_nottingham_is_never_replaced_by_the_demo_unasked(demo_store, offline):
    with pytest.raises(DataError, match=NOTTINGHAM.sha256) as caught:
        load_piano_rolls("nottingham", demo_store)
    assert "data.corpus=demo needs no file" in str(caught.value)


def test_a_limit_keeps_the_first_sequences_of_every_split(demo_store):
    whole = load_piano_rolls("demo", demo_store)
    assert whole.warning is None
    part = load_piano_rolls("demo", demo_store, limit=20)
    assert part.sequences == {"train": 20, "valid": 16, "test": 16}
    np.testing.assert_array_equal(part.rolls.train[19], whole.rolls.train[19])
    assert part.sha256 != whole.sha256
    assert load_piano_rolls("demo", demo_store, limit=1000).sha256 == whole.sha256


def test_bad_choices_are_reported_together(demo_store):
    with pytest.raises(ConfigError) as caught:
        load_piano_rolls("notingham", demo_store, limit=0)
    assert caught.value.faults == (
        "data.corpus: must be one of nottingham, nottingham-midi, demo, auto, or the path of a "
        "folder or archive of MIDI files (.tar.gz, .tgz, .tar, .zip), or of a .mat file, got "
        "'notingham', where there is nothing",
        "data.limit: must be >= 1, got 0; use null for all sequences",
    )


def test_the_hash_depends_on_notes_order_split_and_cuts():
    one, two = np.zeros((2, 88), np.uint8), np.ones((2, 88), np.uint8)
    both = np.concatenate([one, two])
    variants = [
        PianoRolls((one, two), (one,), (one,)),
        PianoRolls((two, one), (one,), (one,)),
        PianoRolls((both,), (one,), (one,)),
        PianoRolls((one,), (two, one), (one,)),
        PianoRolls((one, two), (one,), (two,)),
    ]
    assert len({content_sha256(rolls) for rolls in variants}) == len(variants)
    transposed = PianoRolls((one, np.asfortranarray(two)), (one,), (one,))
    assert content_sha256(transposed) == content_sha256(variants[0])
