from dataclasses import replace

import numpy as np
import pytest

from dmu_search.data import DataStore, MissingFileError, file_status
from dmu_search.data.treebank import FILES, load_treebank, read_treebank
from dmu_search.engine.tasks.natlang import NatLang
from dmu_search.errors import ConfigError, DataError
from dmu_search.names import TASKS
from tests.engine.conftest import batches_of


def write(folder, **texts):
    paths = {split: folder / f"{split}.txt" for split in ("train", "valid", "test")}
    for split, path in paths.items():
        path.write_text(texts.get(split, " a \n"))
    return paths


def test_the_penn_treebank_is_what_the_field_trains_on(real_file, tmp_path):
    mirror = real_file("ptb/ptb.train.txt").parents[1]
    store = DataStore(root=tmp_path, mirror=mirror)
    treebank = load_treebank(store)
    for name in TASKS["natlang"].files:
        assert file_status(FILES[name], store).state == "ok"
    assert treebank.words == {"train": 929_589, "valid": 73_760, "test": 82_430}
    assert treebank.sequences == {"train": 42_068, "valid": 3_370, "test": 3_761}
    assert len(treebank.vocabulary) == NatLang.vocabulary == 10_000
    assert treebank.vocabulary[:4] == ("the", "<unk>", "<eos>", "N")
    assert treebank.sha256 == "2662cdaaf6cb1868b8378f2fe0ae03a407ec056759000b5b337ffc2960d314a2"
    assert treebank.describe() == (
        "ptb: 42,068 / 3,370 / 3,761 lines, 929,589 / 73,760 / 82,430 words, "
        f"vocabulary of 10,000, from {mirror / 'ptb'}"
    )
    assert list(tmp_path.iterdir()) == []


def test_words_are_numbered_by_frequency_and_lines_end(tmp_path):
    paths = write(tmp_path, train=" b a b \n c\n\n b a <unk>\n", valid="c a\n", test="b")
    treebank = read_treebank(paths)
    assert treebank.vocabulary == ("<eos>", "b", "a", "<unk>", "c")
    assert treebank.text.train.tolist() == [1, 2, 1, 0, 4, 0, 0, 1, 2, 3, 0]
    assert treebank.text.valid.tolist() == [4, 2, 0]
    assert treebank.text.test.tolist() == [1, 0]
    assert treebank.steps_per_epoch(32) == 11


def test_a_limit_keeps_the_first_lines_and_all_of_the_vocabulary(tmp_path):
    paths = write(tmp_path, train="a b\nb c\nc d\n", valid="a\nb\nc\n", test="d\n")
    whole, part = read_treebank(paths), read_treebank(paths, limit=2)
    assert part.vocabulary == whole.vocabulary
    assert part.sequences == {"train": 2, "valid": 2, "test": 1}
    np.testing.assert_array_equal(part.text.train, whole.text.train[:6])
    assert part.sha256 != whole.sha256
    assert read_treebank(paths, limit=9).sha256 == whole.sha256


def test_whole_chunks_leave_out_what_the_release_does(real_file, tmp_path):
    store = DataStore(root=tmp_path, mirror=real_file("ptb/ptb.train.txt").parents[1])
    whole, cut = load_treebank(store), load_treebank(store, whole_chunks=True)
    assert cut.words == {"train": 928_001, "valid": 73_601, "test": 80_001}
    for split, count in cut.words.items():
        np.testing.assert_array_equal(getattr(cut.text, split), getattr(whole.text, split)[:count])
    assert cut.vocabulary == whole.vocabulary
    assert cut.sha256 != whole.sha256
    # 32 streams of it are read in chunks of 100 to the end.
    batches = NatLang(cut.text).train_batches([None], batches_of(32))
    assert {len(batch.rows.valid[0]) for batch in batches} == {3_200}


def test_a_text_without_whole_chunks(tmp_path):
    paths = write(tmp_path, train="a b c\n" * 800 + "a\n", valid="a b c\n" * 800)
    with pytest.raises(ConfigError, match=r"need 3,201 words, the valid text has 3,200; raise"):
        read_treebank(paths, whole_chunks=True)


def test_a_limit_below_one(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.limit: must be >= 1, got 0; use null"):
        load_treebank(DataStore(root=tmp_path), limit=0)


def test_a_word_that_the_training_text_does_not_have(tmp_path):
    paths = write(tmp_path, train="a\n", test="a\na zebra\n")
    with pytest.raises(DataError, match=r"test\.txt:2: the word 'zebra'.*replace .* by <unk>"):
        read_treebank(paths)


def test_a_file_that_is_no_text(tmp_path):
    paths = write(tmp_path)
    paths["valid"].write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"valid\.txt: cannot be read as text"):
        read_treebank(paths)


def test_the_hash_depends_on_order_split_and_words(tmp_path):
    variants = [
        {"train": "a b\n"},
        {"train": "a c\n"},
        {"train": "b a\n"},
        {"train": "a b\n", "valid": "b\n"},
        {"train": "a b\n", "test": "b\n"},
    ]
    digests = {read_treebank(write(tmp_path, **texts)).sha256 for texts in variants}
    assert len(digests) == len(variants)


def test_a_missing_file_is_named_with_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    file = FILES["ptb-train"]
    dead = replace(file, url="http://127.0.0.1:9/ptb.train.txt")
    monkeypatch.setitem(FILES, "ptb-train", dead)
    with pytest.raises(MissingFileError, match=file.sha256) as caught:
        load_treebank(DataStore(root=tmp_path))
    assert f"can be put at {tmp_path / 'ptb' / 'ptb.train.txt'}" in str(caught.value)
    assert "data.mirror=FOLDER" in str(caught.value)


def test_an_altered_file_is_an_error(small_files):
    (small_files / "ptb" / "ptb.test.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"ptb\.test\.txt: truncated or altered"):
        load_treebank(DataStore(root=small_files))
