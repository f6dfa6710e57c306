import tarfile
from fractions import Fraction

import mido
import numpy as np
import pytest

from dmu_search.data.midi import Note, read_midi, roll_to_notes, write_midi
from dmu_search.errors import DataError

QUARTER = 480


@pytest.fixture
def write_events(tmp_path):
    """Write messages, timed in ticks since the one before, as one track of a file."""

    def write(*events, resolution=QUARTER):
        path = tmp_path / "tune.mid"
        track = mido.MidiTrack(events)
        mido.MidiFile(tracks=[track], ticks_per_beat=resolution).save(path)
        return path

    return write


def on(note, time=0, channel=0):
    return mido.Message("note_on", note=note, time=time, channel=channel)


def off(note, time=0, channel=0):
    return mido.Message("note_off", note=note, time=time, channel=channel)


def pitches(roll):
    return [[int(column) + 21 for column in np.flatnonzero(step)] for step in roll]


def test_a_roll_survives_the_round_trip(tmp_path, random_roll):
    write_midi(tmp_path / "a.mid", [roll_to_notes(random_roll)])
    np.testing.assert_array_equal(read_midi(tmp_path / "a.mid"), random_roll)


def test_the_lowest_and_the_highest_note_are_in_range(tmp_path):
    write_midi(tmp_path / "a.mid", [[Note(21, 0, 1)], [Note(108, 1, 2)]])
    assert pitches(read_midi(tmp_path / "a.mid")) == [[21], [108], [108]]


def test_voices_that_share_a_pitch_are_joined(tmp_path):
    write_midi(tmp_path / "a.mid", [[Note(60, 0, 1), Note(60, 1, 1)], [Note(60, 0, 3)]])
    assert pitches(read_midi(tmp_path / "a.mid")) == [[60]] * 3


def test_tempo_changes_do_not_move_notes(write_events):
    path = write_events(
        mido.MetaMessage("set_tempo", tempo=300_000),
        on(60),
        off(60, QUARTER),
        mido.MetaMessage("set_tempo", tempo=1_234_567),
        on(62),
        off(62, QUARTER),
        mido.MetaMessage("set_tempo", tempo=77_777),
        on(64),
        off(64, QUARTER),
    )
    assert pitches(read_midi(path)) == [[60], [60], [62], [62], [64], [64]]


@pytest.mark.parametrize(
    ("note_value", "expected"),
    [
        (Fraction(1, 4), [[60]]),
        (Fraction(1, 8), [[60], [62]]),
        (Fraction(1, 16), [[60], [60], [62], [64]]),
        (Fraction(1, 12), [[60], [60], [62]]),
    ],
)
@pytest.mark.parametrize("resolution", [96, 1024])
def test_a_step_holds_what_sounds_at_its_beginning(write_events, note_value, expected, resolution):
    eighth, sixteenth = resolution // 2, resolution // 4
    path = write_events(
        *(on(60), off(60, eighth), on(62), off(62, sixteenth), on(64), off(64, sixteenth)),
        resolution=resolution,
    )
    assert pitches(read_midi(path, note_value=note_value)) == expected


def test_drums_and_notes_out_of_range_are_left_out(write_events):
    drums = 9
    path = write_events(
        *(on(36, channel=drums), on(20), on(60), on(109)),
        *(off(36, QUARTER, drums), off(20), off(60), off(109)),
    )
    assert pitches(read_midi(path)) == [[60], [60]]


def test_a_file_without_any_usable_note_is_an_error(write_events):
    path = write_events(on(36, channel=9), off(36, QUARTER, 9), on(10), off(10, QUARTER))
    with pytest.raises(DataError, match=r"tune\.mid: no note between 21 and 108"):
        read_midi(path)
    with pytest.raises(DataError, match=r"tune\.mid"):
        read_midi(write_events())


@pytest.mark.parametrize("keep", [0, 3, 20, -12])
def test_a_corrupt_file_is_an_error_that_names_it(tmp_path, random_roll, keep):
    path = tmp_path / "broken.mid"
    write_midi(path, [roll_to_notes(random_roll)])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"broken\.mid: cannot be read as a MIDI file \(\w+"):
        read_midi(path)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"none\.mid.*No such file"):
        read_midi(tmp_path / "none.mid")


def test_frames_instead_of_ticks_are_an_error(write_events):
    # A negative division means SMPTE frames per second.
    path = write_events(on(60), off(60, QUARTER), resolution=-25 * 256 + 40)
    with pytest.raises(DataError, match="cannot be read as a MIDI file"):
        read_midi(path)


def test_real_tunes_look_like_the_piano_rolls_made_of_them(real_file, tmp_path):
    with tarfile.open(real_file("nottingham-midi.tar.gz")) as archive:
        members = [each for each in archive.getmembers() if each.name.endswith(".mid")][::35]
        tunes = {each.name.rpartition("/")[2]: archive.extractfile(each).read() for each in members}
    for name, content in tunes.items():
        (tmp_path / name).write_bytes(content)
    rolls = [read_midi(tmp_path / name) for name in tunes]
    steps = sum(map(len, rolls))
    # Nottingham.mat has 3.97 and 257; these 30 of 1 034 tunes differ by chance, and a leading bar
    # of silence is kept here.
    assert len(rolls) == 30
    assert 3.6 < sum(int(roll.sum()) for roll in rolls) / steps < 4.4
    assert 200 < steps / len(rolls) < 340
