import io
import os
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from scipy.io import loadmat

from dmu_search.data import DataStore, corpus
from dmu_search.data import midi_files as midi_files_module
from dmu_search.data.corpus import load_piano_rolls
from dmu_search.data.midi import Note, Reading, write_midi
from dmu_search.data.midi_corpus import CACHE_FOLDER, load_midi_tunes, split_tunes
from dmu_search.data.midi_files import midi_files
from dmu_search.errors import ConfigError, DataError

TUNES = 12


@pytest.fixture
def store(tmp_path):
    return DataStore(root=tmp_path / "cache")


@pytest.fixture
def folder(tmp_path):
    """Twelve tunes in a folder and its subfolder, beside what is none."""
    folder = tmp_path / "my tunes"
    (folder / "more").mkdir(parents=True)
    for number in range(TUNES):
        name = f"more/{number}.MIDI" if number % 3 else f"{number}.mid"
        write_midi(folder / name, [[Note(40 + number, 0, 2), Note(50, 2, 1 + number)]])
    (folder / "readme.txt").write_text("tunes")
    for hidden in (".hidden.mid", "__MACOSX/0.mid", ".git/0.mid"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_bytes(b"none of ours")
    return folder


def pack(folder, path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*.*")):
                archive.write(file, file.relative_to(folder.parent))
        return path
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


def lowest(rolls):
    return sorted(int(np.flatnonzero(roll[0])[0]) + 21 for roll in rolls)


def cached(store):
    return sorted((store.root / CACHE_FOLDER).iterdir())


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tgz", "tar.gz", "TAR.GZ"])
def test_a_folder_and_its_archives_are_one_corpus(folder, store, kind):
    source = folder if kind == "folder" else pack(folder, folder.with_name(f"tunes.{kind}".lower()))
    if kind == "TAR.GZ":
        source = source.rename(folder.with_name("TUNES.TAR.GZ"))
    corpus = load_piano_rolls(str(source), store)
    assert corpus.sequences == {"train": 8, "valid": 2, "test": 2}
    everything = corpus.rolls.train + corpus.rolls.valid + corpus.rolls.test
    assert lowest(everything) == list(range(40, 40 + TUNES))
    assert (corpus.warning, corpus.source) == (None, source)
    assert corpus.name == ("my tunes (folder)" if kind == "folder" else source.name)
    assert corpus.sha256 == load_piano_rolls(str(folder), store).sha256
    assert "steps of 1/8, in their own keys, no files skipped, from" in corpus.describe()
    # Nothing is unpacked: the cache holds what was read, and nothing else was written.
    assert not {path.suffix for path in store.root.rglob("*.*")} - {".npz"}


def test_every_bad_file_is_listed_with_its_reason_and_none_is_fatal(folder, store):
    whole = (folder / "0.mid").read_bytes()
    (folder / "a empty.mid").touch()
    (folder / "b truncated.mid").write_bytes(whole[:30])
    (folder / "c text.mid").write_text("no MIDI file")
    write_midi(folder / "d silent.mid", [])
    write_midi(folder / "e short.mid", [[Note(60, 0, 1)]])
    (folder / "f twice.mid").write_bytes(whole)
    (folder / "g link.mid").symlink_to("nowhere")
    (folder / "h folder.mid").mkdir()
    (folder / "i\nodd\udcff.mid").write_bytes(b"\0")
    corpus = load_piano_rolls(str(folder), store)
    assert sum(corpus.sequences.values()) == TUNES
    reasons = {each.name: each.reason for each in corpus.midi.skipped}
    assert reasons == {
        "a empty.mid": "empty",
        "b truncated.mid": "cannot be read as a MIDI file (it ends too early)",
        "c text.mid": "cannot be read as a MIDI file (MThd not found. Probably not a MIDI file)",
        "d silent.mid": "holds no notes (drums do not count)",
        "e short.mid": "must last 2 to 100,000 steps, got 1",
        "f twice.mid": "same content as 0.mid",
        "g link.mid": "cannot be read (no regular file)",
        "i\nodd\\udcff.mid": "cannot be read as a MIDI file (it ends too early)",
    }
    assert "8 files skipped" in corpus.describe()
    assert corpus.warning.startswith(
        f"{folder}: 8 of 20 MIDI files skipped: a empty.mid (empty), b"
    )
    assert corpus.warning.endswith("Probably not a MIDI file)) and 5 more")
    # The cache tells the same.
    again = load_piano_rolls(str(folder), store)
    assert (again.midi, again.sha256) == (corpus.midi, corpus.sha256)


def test_members_that_an_archive_cannot_give_are_listed(folder, tmp_path, store, monkeypatch):
    path = pack(folder, tmp_path / "tunes.zip")
    write_midi(tmp_path / "other.mid", [[Note(99, 0, 2)]])
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(tmp_path / "other.mid", "../outside.mid")
        archive.writestr("large.mid", b"\0" * 5000, zipfile.ZIP_DEFLATED)
        archive.writestr("damaged.mid", b"0123456789")
    damaged = path.read_bytes().replace(b"0123456789", b"9876543210")
    path.write_bytes(damaged)
    monkeypatch.setattr(midi_files_module, "LARGEST_BYTES", 4000)
    corpus = load_piano_rolls(str(path), store)
    reasons = {each.name: each.reason for each in corpus.midi.skipped}
    assert reasons["large.mid"] == "larger than 0 MiB"
    assert reasons["damaged.mid"].startswith("cannot be read (Bad CRC-32")
    # A name that points outside is only a name, for nothing is unpacked.
    assert sum(corpus.sequences.values()) == TUNES + 1
    assert not (tmp_path.parent / "outside.mid").exists()


def test_links_inside_an_archive_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("link.mid", tarfile.SYMTYPE), ("hard.mid", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/hostname"
            archive.addfile(member)
        archive.addfile(tarfile.TarInfo("./real.mid"), io.BytesIO())
    assert [file.name for file in midi_files(tmp_path / "a.tar")] == ["./real.mid"]


@pytest.mark.parametrize("name", ["tunes.zip", "tunes.tar", "tunes.tar.gz"])
@pytest.mark.parametrize("keep", [0, 0.6])
def test_a_truncated_archive_is_an_error(folder, tmp_path, store, name, keep):
    path = pack(folder, tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=rf"{name}: (truncated, damaged|holds no \.mid)"):
        load_piano_rolls(str(path), store)


def test_too_few_tunes_are_an_error_that_says_why(tmp_path, store):
    with pytest.raises(DataError, match=r"holds no \.mid or \.midi file"):
        load_piano_rolls(str(tmp_path), store)
    for name in "abcd":
        (tmp_path / f"{name}.mid").touch()
    with pytest.raises(
        DataError, match=r"4 of 4 MIDI files skipped: a\.mid \(empty\).* and 1 more"
    ):
        load_piano_rolls(str(tmp_path), store)
    for name in "ab":
        write_midi(tmp_path / f"{name}.mid", [[Note(ord(name) - 40, 0, 3)]])
    with pytest.raises(DataError, match="need a tune each, got 2 in all"):
        load_piano_rolls(str(tmp_path), store)
    write_midi(tmp_path / "c.mid", [[Note(60, 0, 3)]])
    corpus = load_piano_rolls(str(tmp_path), store)
    assert corpus.sequences == {"train": 1, "valid": 1, "test": 1}


def test_the_split_depends_on_contents_only_and_has_nottinghams_shares(folder, store):
    rolls = [np.zeros((2, 88), np.uint8)] * 1037
    split = split_tunes(rolls)
    assert [len(part) for part in (split.train, split.valid, split.test)] == [694, 173, 170]
    before = load_piano_rolls(str(folder), store)
    for file in list(folder.glob("*.mid")):
        file.rename(folder / f"renamed {file.stem}.midi")
    renamed = folder.rename(folder.with_name("elsewhere"))
    assert load_piano_rolls(str(renamed), store).sha256 == before.sha256
    write_midi(renamed / "new.mid", [[Note(90, 0, 4)]])
    after = load_piano_rolls(str(renamed), store)
    assert after.sha256 != before.sha256
    moved = set(lowest(after.rolls.train)) ^ set(lowest(before.rolls.train))
    assert len(moved - {90}) <= 1


def test_the_cache_is_never_stale(folder, store):
    first = load_piano_rolls(str(folder), store)
    (kept,) = cached(store)
    load_piano_rolls(str(folder), store)
    assert cached(store) == [kept]

    sixteenths = load_piano_rolls(str(folder), store, reading=Reading(Fraction(1, 16)))
    assert sixteenths.steps["train"] == 2 * first.steps["train"]
    home = load_piano_rolls(str(folder), store, reading=Reading(transpose=True))
    assert home.sha256 not in (first.sha256, sixteenths.sha256)
    assert len(cached(store)) == 3

    times = folder.joinpath("0.mid").stat()
    size = times.st_size
    write_midi(folder / "0.mid", [[Note(99, 0, 2), Note(50, 2, 1)]])
    # A change that neither size nor times betray.
    assert folder.joinpath("0.mid").stat().st_size == size
    os.utime(folder / "0.mid", ns=(times.st_atime_ns, times.st_mtime_ns))
    changed = load_piano_rolls(str(folder), store)
    assert changed.sha256 != first.sha256
    everything = changed.rolls.train + changed.rolls.valid + changed.rolls.test
    assert 99 in lowest(everything)


def test_a_new_rule_or_parser_leaves_old_caches_unused(folder, store, monkeypatch):
    load_piano_rolls(str(folder), store)
    monkeypatch.setattr("dmu_search.data.midi_corpus.RULE_VERSION", 1000)
    load_piano_rolls(str(folder), store)
    monkeypatch.setattr("dmu_search.data.midi_corpus.version", lambda package: f"{package} 99")
    load_piano_rolls(str(folder), store)
    assert len(cached(store)) == 3


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no longer whole"])
def test_a_damaged_cache_is_made_again(folder, store, damage):
    first = load_piano_rolls(str(folder), store)
    (kept,) = cached(store)
    kept.write_bytes(damage)
    assert load_piano_rolls(str(folder), store).sha256 == first.sha256
    assert len(kept.read_bytes()) > len(damage)


def test_a_corpus_is_read_from_its_cache(folder, store, monkeypatch):
    first = load_midi_tunes(folder, Reading(), cache=store.cache_folder)
    monkeypatch.setattr("dmu_search.data.midi_corpus.read_tune", None)
    again = load_midi_tunes(folder, Reading(), cache=store.cache_folder)
    assert again[1] == first[1]
    for one, other in zip(first[0], again[0], strict=True):
        np.testing.assert_array_equal(one, other)
        assert other.flags.c_contiguous


def test_processes_that_read_together_leave_one_cache(folder, store):
    with ThreadPoolExecutor(4) as pool:
        corpora = list(pool.map(load_piano_rolls, [str(folder)] * 4, [store] * 4))
    assert len({corpus.sha256 for corpus in corpora}) == 1
    assert len(cached(store)) == 1


def test_a_cache_folder_that_cannot_be_written_names_the_setting(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written .*data\.root=FOLDER"):
        load_piano_rolls(str(folder), DataStore(root=tmp_path / "file"))


def test_a_mat_file_of_the_same_layout_works_by_its_path(real_file, tmp_path, store):
    path = shutil.copy(real_file("Nottingham.mat"), tmp_path / "JSB Chorales.mat")
    corpus = load_piano_rolls(str(path), store)
    assert corpus.name == "JSB Chorales.mat"
    assert corpus.sequences == {"train": 694, "valid": 173, "test": 170}
    assert len(loadmat(path)["traindata"][0]) == 694
    # Rolls are as they are: another step would be a lie.
    with pytest.raises(ConfigError, match=r"JSB Chorales\.mat is as it is"):
        load_piano_rolls(str(path), store, reading=Reading(Fraction(1, 16)))


@pytest.mark.parametrize("name", ["nottingham", "demo"])
def test_only_midi_is_read_at_another_step(name, demo_store, real_file):
    if name == "nottingham":
        demo_store = DataStore(demo_store.root, mirror=real_file("Nottingham.mat").parent)
    with pytest.raises(ConfigError, match=f"data.transpose: {name} is as it is"):
        load_piano_rolls(name, demo_store, reading=Reading(transpose=True))


def test_the_archive_of_nottingham_is_for_those_who_have_it(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"nobody serves it.*data\.corpus=FOLDER"):
        load_piano_rolls("nottingham-midi", DataStore(root=tmp_path))
    assert corpus.FILES["nottingham-midi"].served is False


@pytest.mark.slow
def test_nottinghams_midi_files_are_its_rolls_in_another_edition(real_file, tmp_path):
    mirror = real_file("nottingham-midi.tar.gz").parent
    store = DataStore(root=tmp_path, mirror=mirror)
    reading = Reading(transpose=True)
    midi = load_piano_rolls("nottingham-midi", store, reading=reading)
    rolls, report = load_midi_tunes(midi.source, reading, cache=tmp_path)
    assert report.files == 1034
    assert {each.reason.split(" as ")[0] for each in report.skipped} == {"same content"}
    assert len(report.skipped) == 5
    assert midi.sequences == {"train": 688, "valid": 172, "test": 169}
    # The .mat has 257.0 steps (median 255, the first step of each tune missing) and 3.97 notes per
    # step. This edition repeats more parts, notates more sevenths, and voices chords an octave
    # lower, where they do not meet the melody: what differs is in the files, not in the reading.
    lengths = [len(roll) for roll in rolls]
    assert np.median(lengths) == 256
    assert np.mean(lengths) == pytest.approx(266.5, abs=0.05)
    assert midi.mean_notes_per_step == pytest.approx(4.11, abs=0.005)
    # Tunes whose highest notes are those of the .mat throughout, but for its missing first step.
    mat = load_piano_rolls("nottingham", store)
    known = {tops(roll) for roll in mat.rolls.train + mat.rolls.valid + mat.rolls.test}
    assert sum(tops(roll[1:]) in known for roll in rolls) == 91


def tops(roll):
    """The highest note of each step, from the first one's."""
    highest = [int(np.flatnonzero(step)[-1]) if step.any() else None for step in roll]
    first = next(top for top in highest if top is not None)
    return tuple(None if top is None else top - first for top in highest)
