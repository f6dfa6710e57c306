from contextlib import suppress
from fractions import Fraction

import mido
import numpy as np
import pretty_midi
import pytest

from dmu_search.data.midi import (
    LONGEST_STEPS,
    Note,
    Reading,
    read_midi,
    read_tune,
    write_midi,
)
from dmu_search.data.piano_rolls import LOWEST_NOTE
from dmu_search.errors import DataError

QUARTER = 480
DRUMS = 9


def roll_to_notes(roll):
    """The notes of a piano roll; neighbouring steps of one pitch are one held note."""
    padded = np.pad(roll.astype(np.int8), ((1, 1), (0, 0)))
    # Row by row of the transpose, onsets and ends of one pitch alternate, so they pair up in order.
    changes = np.diff(padded, axis=0).T
    pitches, starts = np.nonzero(changes == 1)
    ends = np.nonzero(changes == -1)[1]
    return [
        Note(int(pitch) + LOWEST_NOTE, int(start), int(end - start))
        for pitch, start, end in zip(pitches, starts, ends, strict=True)
    ]


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


def melody(*notes):
    """Notes ``(pitch, ticks)`` one after the other; pitch 0 is a rest."""
    events, waited = [], 0
    for pitch, ticks in notes:
        if pitch:
            events += [on(pitch, waited), off(pitch, ticks)]
            waited = 0
        else:
            waited += ticks
    return events


def pitches(roll):
    return [[int(column) + 21 for column in np.flatnonzero(step)] for step in roll]


def tune(folder, *pitches_, key=None):
    """A pretty_midi file of eighth notes, with a key signature or none."""
    midi = pretty_midi.PrettyMIDI()
    track = pretty_midi.Instrument(0)
    for step, pitch in enumerate(pitches_):
        track.notes.append(pretty_midi.Note(90, pitch, step / 4, (step + 1) / 4))
    midi.instruments.append(track)
    if key is not None:
        number = pretty_midi.key_name_to_key_number(key)
        midi.key_signature_changes.append(pretty_midi.KeySignature(number, 0.0))
    midi.write(str(folder / "tune.mid"))
    return folder / "tune.mid"


def test_a_roll_survives_the_round_trip_without_silence_at_its_ends(tmp_path, random_roll):
    write_midi(tmp_path / "a.mid", [roll_to_notes(random_roll)])
    assert not random_roll[:3].any()
    np.testing.assert_array_equal(read_midi(tmp_path / "a.mid"), random_roll[3:])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("steps_per_quarter", [1, 2, 3, 4])
def test_notes_on_the_grid_come_back_under_any_tempi(tmp_path, seed, steps_per_quarter):
    random = np.random.default_rng(seed)
    roll = (random.random((60, 88)) < 0.1).astype(np.uint8)
    roll[[0, -1], 40] = 1
    tracks = [[mido.MetaMessage("set_tempo", tempo=300_000)] for _ in range(4)]
    # Tempi change anywhere, between notes and within them.
    for _ in range(6):
        tempo, time = (int(random.integers(low, 1_500_000)) for low in (200_000, 1))
        tracks[0].append(mido.MetaMessage("set_tempo", tempo=tempo, time=time % 1000))
    for index, track in enumerate(tracks[1:]):
        moments = []
        for note in roll_to_notes(roll)[index :: len(tracks) - 1]:
            # At one moment the ends come first, or a repeated note would be cut off.
            moments += [(note.start, 1, note.pitch), (note.start + note.length, 0, note.pitch)]
        now = 0
        for step, begins, pitch in sorted(moments):
            tick = step * QUARTER // steps_per_quarter
            track.append((on if begins else off)(pitch, tick - now, channel=index))
            now = tick
    file = mido.MidiFile(tracks=[mido.MidiTrack(track) for track in tracks], ticks_per_beat=QUARTER)
    file.save(tmp_path / "a.mid")
    reading = Reading(Fraction(1, 4 * steps_per_quarter))
    np.testing.assert_array_equal(read_midi(tmp_path / "a.mid", reading), roll)


def test_the_lowest_and_the_highest_note_are_in_range(tmp_path):
    write_midi(tmp_path / "a.mid", [[Note(21, 0, 1)], [Note(108, 1, 2)]])
    assert pitches(read_midi(tmp_path / "a.mid")) == [[21], [108], [108]]


def test_voices_that_share_a_pitch_are_joined(tmp_path):
    write_midi(tmp_path / "a.mid", [[Note(60, 0, 1), Note(60, 1, 1)], [Note(60, 0, 3)]])
    assert pitches(read_midi(tmp_path / "a.mid")) == [[60]] * 3


@pytest.mark.parametrize(
    ("note_value", "expected"),
    [
        (Fraction(1, 4), [[60], [65]]),
        (Fraction(1, 8), [[60], [62], [65], [65]]),
        (Fraction(1, 16), [[60], [60], [62], [64], *[[65]] * 4]),
        (Fraction(1, 12), [[60], [60], [64], *[[65]] * 3]),
    ],
)
@pytest.mark.parametrize("resolution", [96, 1024])
def test_a_step_holds_what_sounds_in_its_middle(write_events, note_value, expected, resolution):
    eighth, sixteenth = resolution // 2, resolution // 4
    notes = melody((60, eighth), (62, sixteenth), (64, sixteenth), (65, resolution))
    path = write_events(*notes, resolution=resolution)
    assert pitches(read_midi(path, Reading(note_value))) == expected


def test_of_a_triplet_on_two_steps_the_outer_notes_remain(write_events):
    path = write_events(*melody((60, 160), (62, 160), (64, 160), (65, 240)))
    assert pitches(read_midi(path)) == [[60], [64], [65]]


@pytest.mark.parametrize("late", [-100, -1, 1, 100])
def test_a_note_played_early_or_late_stays_in_its_step(write_events, late):
    path = write_events(*melody((60, 240 + late), (62, 240 - 2 * late), (64, 240 + late)))
    assert pitches(read_midi(path)) == [[60], [62], [64]]


def test_silence_is_kept_only_inside(write_events):
    path = write_events(
        on(36, channel=DRUMS),
        off(36, 240, channel=DRUMS),
        *melody((0, 720), (60, 240), (0, 480), (62, 240)),
        mido.MetaMessage("end_of_track", time=5000),
    )
    assert pitches(read_midi(path)) == [[60], [], [], [62]]


def test_drums_and_notes_out_of_range_are_left_out_and_the_latter_counted(write_events):
    path = write_events(
        *(on(36, channel=DRUMS), on(20), on(60), on(109)),
        *(off(36, QUARTER, DRUMS), off(20), off(60), off(109)),
    )
    read = read_tune(path.read_bytes())
    assert pitches(read.roll) == [[60], [60]]
    assert read.out_of_range == 2


@pytest.mark.parametrize(
    ("key", "shift"),
    [
        *(("C", 0), ("G", 5), ("D", -2), ("F", -5), ("F#", -6), ("B", 1)),
        *(("Am", 0), ("Em", 5), ("Dm", -5), ("Cm", -3), ("Bm", -2)),
    ],
)
def test_a_tune_is_moved_home_from_its_key_signature(tmp_path, key, shift):
    name = f"{key[:-1]} minor" if key.endswith("m") else f"{key} Major"
    # The notes are those of E major, which the signature overrules.
    path = tune(tmp_path, 64, 68, 71, 76, key=name)
    assert pitches(read_midi(path)) == [[64], [68], [71], [76]]
    home = read_midi(path, Reading(transpose=True))
    assert pitches(home) == [[64 + shift], [68 + shift], [71 + shift], [76 + shift]]


def test_without_a_key_signature_the_notes_tell_the_key(tmp_path):
    e_major = (64, 66, 68, 69, 71, 73, 75, 76, 71, 68, 64, 64)
    home = read_midi(tune(tmp_path, *e_major), Reading(transpose=True))
    assert pitches(home) == [[pitch - 4] for pitch in e_major]
    b_minor = (71, 73, 74, 76, 78, 79, 70, 71, 78, 74, 71, 71)
    home = read_midi(tune(tmp_path, *b_minor), Reading(transpose=True))
    assert pitches(home) == [[pitch - 2] for pitch in b_minor]


def test_notes_that_transposing_moves_out_of_range_are_left_out(tmp_path):
    path = tune(tmp_path, 60, 64, 108, 60, key="G Major")
    read = read_tune(path.read_bytes(), Reading(transpose=True))
    assert pitches(read.roll) == [[65], [69], [], [65]]
    assert read.out_of_range == 1


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([], "holds no notes"),
        ([on(36, channel=DRUMS), off(36, QUARTER, DRUMS)], "holds no notes"),
        ([on(10), off(10, QUARTER)], "no note between 21 and 108"),
        ([on(60), off(60, 20)], "no note between 21 and 108 sounds on a step"),
        ([on(60), off(60, 240)], "must last 2 to 100,000 steps, got 1"),
    ],
)
def test_a_file_without_a_tune_is_an_error_that_names_it(write_events, events, fault):
    with pytest.raises(DataError, match=rf"tune\.mid: {fault}"):
        read_midi(write_events(*events))


def test_a_length_that_only_damage_explains_is_an_error(write_events):
    path = write_events(*melody((60, 1), (62, LONGEST_STEPS)), resolution=2)
    with pytest.raises(DataError, match="must last 2 to 100,000 steps, got 100,001"):
        read_midi(path)


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


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_give_a_tune_or_an_error_in_words(tmp_path, seed):
    random = np.random.default_rng(seed)
    content = bytearray(tune(tmp_path, *range(50, 80)).read_bytes())
    for position in random.integers(len(content), size=4):
        content[position] = random.integers(256)
    # Nothing but a DataError may come out.
    with suppress(DataError):
        roll = read_tune(bytes(content), Reading(transpose=True)).roll
        assert roll[0].any()
        assert roll[-1].any()
