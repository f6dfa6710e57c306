from dataclasses import replace

import numpy as np
import pytest

from dmu_search.data import DataStore, MissingFileError, file_status, pairs
from dmu_search.data.pairs import (
    FEWEST_PAIRS,
    PairCorpus,
    load_pairs,
    number_words,
    read_pairs,
    split_index,
    tokens_of,
)
from dmu_search.engine.tasks.sentences import END, SPLITS, START
from dmu_search.errors import ConfigError, DataError
from tests.conftest import small_pairs, zipped


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(small_pairs(), encoding="utf-8")
    return path


def load(path, **how) -> PairCorpus:
    return load_pairs("por2eng", DataStore(), file=path, **how)


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ("¿Cómo estás?", "¿ como estas ?"),
        ("¡No! Él, sí...", "¡ no ! el , si . . ."),
        ("I can't, Tom.", "i can t , tom ."),
        ("It's 7:30 a.m.", "it s a . m ."),
        ("Straße: schön\u2028gelb", "stra e schon gelb"),
        ("«Não», disse a maçã", "nao , disse a maca"),
        ("42", ""),
    ],
)
def test_sentences_are_cut_as_in_the_release(sentence, tokens):
    assert tokens_of(sentence) == tokens.split()


def test_words_are_numbered_from_the_markers_on():
    words, sentences = number_words([["a", "b", "a"], [], ["b", "c"]])
    assert words == ("<start>", "<end>", "a", "b", "c")
    assert sentences.lengths.tolist() == [5, 2, 4]
    assert np.split(sentences.words, sentences.starts[1:])[2].tolist() == [START, 3, 4, END]
    taken = sentences.take(np.array([2, 0]))
    assert taken.words.tolist() == [START, 3, 4, END, START, 2, 3, 2, END]


@pytest.mark.parametrize("count", [*range(FEWEST_PAIRS, 40), 30_000])
def test_the_split_holds_every_pair_once_in_the_same_shares(count):
    parts = split_index(count)
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert all(len(part) for part in parts)
    for part, share in zip(parts, (0.70, 0.15, 0.15), strict=True):
        assert abs(len(part) - share * count) <= 1
    assert all(np.array_equal(*pair) for pair in zip(parts, split_index(count), strict=True))


def test_texts_zips_and_line_ends_say_the_same(tmp_path, mine):
    (tmp_path / "mine.zip").write_bytes(zipped(small_pairs(), "por.txt"))
    windows = tmp_path / "windows.txt"
    windows.write_bytes(b"\xef\xbb\xbf" + small_pairs().replace("\n", "\r\n").encode())
    first, *others = (load(path) for path in (mine, tmp_path / "mine.zip", windows))
    assert read_pairs(mine)[0] == ("The cat sleeps!", "¡El gato duerme!")
    assert {other.sha256 for other in others} == {first.sha256}
    assert first.sequences == {"train": 29, "valid": 6, "test": 6}
    assert first.describe().startswith("mine: 29 / 6 / 6 pairs, 19 words to 17, from ")


def test_source_and_target_are_each_others_translations(mine):
    corpus = load(mine)
    known = {
        (" ".join(tokens_of(foreign)), " ".join(tokens_of(english)))
        for english, foreign in read_pairs(mine)
    }
    for split in SPLITS:
        part = getattr(corpus.pairs, split)
        sources = np.split(part.source.words, part.source.starts[1:])
        for words, target in zip(sources, corpus.texts(part.target), strict=True):
            source = " ".join(corpus.source_words[word] for word in words[1:-1])
            assert (source, target) in known


def test_limits_leave_the_vocabulary_alone(mine):
    whole, first, few = load(mine), load(mine, pairs=10), load(mine, limit=2)
    assert first.sequences == {"train": 7, "valid": 2, "test": 1}
    assert few.sequences == {"train": 2, "valid": 2, "test": 2}
    assert first.pairs.vocabulary == few.pairs.vocabulary == whole.pairs.vocabulary
    assert whole.texts(whole.pairs.valid.target)[:2] == few.texts(few.pairs.valid.target)
    assert len({whole.sha256, first.sha256, few.sha256}) == 3
    assert load(mine, pairs=10**6).sha256 == whole.sha256


def test_steps_are_words_read_and_predicted(mine):
    train = load(mine).pairs.train
    words = train.source.lengths.sum() + (train.target.lengths - 1).sum()
    assert load(mine).steps_per_epoch(32) == words


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.txt", b"Hi.\tHallo!\nBye.\n" * 9, r"a\.txt: line 2 must be .* a tab .*got 'Bye\.'"),
        ("a.txt", b"Hi.\tHallo!\n" * 6, "7 pairs are the fewest that can be split, got 6"),
        ("a.txt", "Hi.\tGrüß\n".encode("latin-1") * 9, r"a\.txt: cannot be read as sentence pairs"),
        ("a.zip", b"<html>not here</html>", r"a\.zip: cannot be read .*pairs_file=PATH"),
        ("a.zip", zipped(small_pairs())[:-200], r"a\.zip: cannot be read"),
        ("a.zip", zipped(small_pairs()).replace(b"gato", b"pato", 1), r"Bad CRC-32"),
        ("a.zip", zipped("x\ty\n", "b.csv"), r"must hold one \.txt .*_about\.txt, b\.csv"),
    ],
)
def test_a_file_of_another_kind_is_an_error_that_names_it(tmp_path, name, content, fault):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=fault):
        load(tmp_path / name)


def test_a_file_of_the_users_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none\.zip: no such file; check data\.pairs_file"):
        load(tmp_path / "none.zip")


def test_too_few_pairs_are_bad_input(mine):
    with pytest.raises(ConfigError, match=r"data\.pairs: must be all or >= 7, got 6"):
        load(mine, pairs=6)


def test_without_the_portuguese_file_both_ways_out_are_named(tmp_path, monkeypatch):
    # Port 9 is the discard service: it refuses connections.
    moved = replace(pairs.FILES["por-eng"], url="http://127.0.0.1:9/por-eng.zip")
    monkeypatch.setitem(pairs.FILES, "por-eng", moved)
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(MissingFileError) as caught:
        load_pairs("por2eng", DataStore(root=tmp_path))
    message = str(caught.value)
    for part in (
        f"{tmp_path / 'por-eng.zip'}: missing",
        moved.url,
        "data.mirror=FOLDER",
        "data.pairs_file=PATH takes any file of https://www.manythings.org/anki/",
    ):
        assert part in message
    assert "None" not in message


def test_a_file_that_upstream_replaces_is_taken_as_it_is(tmp_path):
    (tmp_path / "por-eng.zip").write_bytes(zipped(small_pairs(), "por.txt"))
    store = DataStore(root=tmp_path)
    assert file_status(pairs.FILES["por-eng"], store).state == "present"
    assert load_pairs("por2eng", store).name == "por-eng"


def load_real(task, path):
    corpus = load_pairs(task, DataStore(root=path.parent), pairs=30_000)
    assert corpus.sequences == {"train": 21_000, "valid": 4_500, "test": 4_500}
    return corpus.pairs.vocabulary


@pytest.mark.slow
def test_the_real_spanish_file_has_the_vocabularies_of_the_release(real_file):
    path = real_file("spa-eng.zip")
    vocabulary = load_real("spa2eng", path)
    # The release has 24 793 and 12 933: one less, as if it dropped the inverted exclamation mark.
    assert (vocabulary.source, vocabulary.target) == (24_794, 12_933)
    assert file_status(pairs.FILES["spa-eng"], DataStore(root=path.parent)).state == "ok"


@pytest.mark.slow
def test_the_real_german_file(real_file):
    path = real_file("deu-eng.zip")
    vocabulary = load_real("ger2eng", path)
    assert len(read_pairs(path)) == 169_197
    # Of the cut of 2018. The paper's had 34 628 and 15 781.
    assert (vocabulary.source, vocabulary.target) == (31_350, 14_652)
