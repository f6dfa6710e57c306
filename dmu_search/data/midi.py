"""MIDI files to piano rolls and back. This module alone imports pretty_midi."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmu_search.data.piano_rolls import LOWEST_NOTE
from dmu_search.data.tonality import MusicalKey, estimate_key
from dmu_search.engine.tasks.polymusic import NOTES, Roll
from dmu_search.errors import DataError

# Over three hours of sixteenth notes; a damaged file can claim a length that fills the memory.
LONGEST_STEPS = 100_000
_HIGHEST_NOTE = LOWEST_NOTE + NOTES - 1
_RESOLUTION = 480
# Of a whole note at 120 quarter notes a minute, the tempo of the files written here.
WHOLE_NOTE_S = 2.0
_VELOCITY = 90


@dataclass(frozen=True)
class Note:
    """One note, timed in steps.

    Args:
        pitch: MIDI note number.
        start: step at which it begins to sound.
        length: number of steps that it sounds for.
    """

    pitch: int
    start: int
    length: int


@dataclass(frozen=True)
class Reading:
    """How notes become a piano roll.

    Args:
        note_value: length of a step as a fraction of a whole note.
        transpose: whether a tune is moved to C major or A minor.
    """

    note_value: Fraction = Fraction(1, 8)
    transpose: bool = False


EIGHTHS = Reading()


@dataclass(frozen=True, eq=False)
class MidiTune:
    """A tune read from a MIDI file.

    Args:
        roll: ``(time, 88)``, 1 where a note sounds; column 0 is MIDI note 21.
        out_of_range: notes outside 21 to 108, which are left out.
    """

    roll: Roll
    out_of_range: int


def read_midi(path: Path, reading: Reading = EIGHTHS) -> Roll:
    """Read the piano roll of a MIDI file; see ``read_tune``.

    Raises:
        DataError: the file cannot be read or gives no tune; the message names it.
    """
    try:
        return read_tune(path.read_bytes(), reading).roll
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_tune(content: bytes, reading: Reading = EIGHTHS) -> MidiTune:
    """Read the piano roll of a standard MIDI file.

    Beginnings and ends of notes move to the nearest step, halves to the later one; so a note
    belongs to a step if it sounds in its middle, and of two notes that share a step evenly the
    first does. Positions are counted in ticks of the file, which follow the notated rhythm, so that
    tempo changes do not matter. All tracks are laid over each other; drums and notes outside 21 to
    108 are left out. The roll begins with the first step that sounds and ends with the last.

    The rule is that of ``Nottingham.mat`` as far as tunes common to both show it: against the 674
    of them that last equally long it has 379 melodies without any other note, where asking what
    sounds at the beginning of a step has 342 of these and no other (triplets decide). That file
    lacks the first step of each tune, which nothing here takes away.

    A tune is transposed by its first key signature, or where it has none by ``estimate_key``, so
    that its tonic becomes C in major and A in minor, by at most six semitones.

    Args:
        content: of the file.
        reading: the step and whether to transpose.

    Raises:
        DataError: why there is no tune of at least two steps in it, without a file's name.
    """
    midi = _parse(content)
    notes = _pitched_notes(midi)
    if not len(notes):
        raise DataError("holds no notes (drums do not count)")
    if reading.transpose:
        notes[:, 0] += _key(midi, notes).shift_home
    in_range = (notes[:, 0] >= LOWEST_NOTE) & (notes[:, 0] <= _HIGHEST_NOTE)
    pitches, starts, ends = notes[in_range].T
    grid = 4 * midi.resolution * reading.note_value
    return MidiTune(
        _to_roll(pitches, _nearest_step(starts, grid), ends=_nearest_step(ends, grid)),
        out_of_range=int((~in_range).sum()),
    )


def write_midi(path: Path, voices: Sequence[Sequence[Note]]) -> None:
    """Write a tune whose step is an eighth note; see ``midi_content``.

    Args:
        path: the file to write; its folder must exist.
        voices: notes of each voice.
    """
    path.write_bytes(midi_content(voices))


def midi_content(
    voices: Sequence[Sequence[Note]],
    *,
    names: Sequence[str] = (),
    note_value: Fraction = EIGHTHS.note_value,
) -> bytes:
    """A tune as a MIDI file of one track per voice, at 120 quarter notes a minute.

    The same voices always give the same bytes. Silence after the last note is not kept.

    Args:
        voices: notes of each voice.
        names: of the tracks, one each; or none.
        note_value: length of a step as a fraction of a whole note, a multiple of 1/1920.
    """
    import pretty_midi  # type: ignore[import-untyped]

    midi = pretty_midi.PrettyMIDI(resolution=_RESOLUTION)
    ticks = int(4 * _RESOLUTION * note_value)
    for number, notes in enumerate(voices):
        track = pretty_midi.Instrument(program=0, name=names[number] if names else "")
        for note in notes:
            start = midi.tick_to_time(note.start * ticks)
            end = midi.tick_to_time((note.start + note.length) * ticks)
            track.notes.append(pretty_midi.Note(_VELOCITY, note.pitch, start, end))
        midi.instruments.append(track)
    content = io.BytesIO()
    midi.write(content)
    return content.getvalue()


def _to_roll(
    pitches: NDArray[np.int64], starts: NDArray[np.int64], *, ends: NDArray[np.int64]
) -> Roll:
    """Notes ``(note,)`` on the grid as a roll without silence at either end."""
    sounding = ends > starts
    if not sounding.any():
        raise DataError(f"no note between {LOWEST_NOTE} and {_HIGHEST_NOTE} sounds on a step")
    pitches, starts, ends = pitches[sounding], starts[sounding], ends[sounding]
    first, last = int(starts.min()), int(ends.max())
    if not 2 <= last - first <= LONGEST_STEPS:
        raise DataError(f"must last 2 to {LONGEST_STEPS:,} steps, got {last - first:,}")
    roll = np.zeros((last - first, NOTES), np.uint8)
    for pitch, start, end in zip(pitches, starts - first, ends - first, strict=True):
        roll[start:end, pitch - LOWEST_NOTE] = 1
    return roll


def _nearest_step(ticks: NDArray[np.int64], ticks_per_step: Fraction) -> NDArray[np.int64]:
    """Steps that positions are nearest to, halves being later, in whole numbers throughout."""
    ticks_of_all, steps = ticks_per_step.numerator, ticks_per_step.denominator
    nearest: NDArray[np.int64] = (2 * ticks * steps + ticks_of_all) // (2 * ticks_of_all)
    return nearest


def _pitched_notes(midi: Any) -> NDArray[np.int64]:
    """Pitch, first tick and end of every note that is no drum's, ``(note, 3)``."""
    notes = [
        (note.pitch, int(midi.time_to_tick(note.start)), int(midi.time_to_tick(note.end)))
        for instrument in midi.instruments
        if not instrument.is_drum
        for note in instrument.notes
    ]
    return np.array(notes, dtype=np.int64).reshape(-1, 3)


def _key(midi: Any, notes: NDArray[np.int64]) -> MusicalKey:
    """The key that the file notates first, or else the one that its notes suggest."""
    if midi.key_signature_changes:
        # Twelve major keys from C up, then the minor ones.
        number = midi.key_signature_changes[0].key_number
        return MusicalKey(number % 12, minor=number >= 12)
    pitches, starts, ends = notes.T
    durations = np.bincount(pitches % 12, weights=ends - starts, minlength=12)
    return estimate_key(durations.astype(np.float64))


def _parse(content: bytes) -> Any:
    import pretty_midi

    try:
        with warnings.catch_warnings():
            # It warns of tempo events in unusual tracks, which positions in ticks do not need.
            warnings.simplefilter("ignore", RuntimeWarning)
            return pretty_midi.PrettyMIDI(io.BytesIO(content))
    # The parser raises EOFError, OSError, ValueError, IndexError, KeyError and errors of its own.
    except Exception as error:
        told = "it ends too early" if isinstance(error, EOFError) else type(error).__name__
        reason = " ".join(str(error).split()) or told
        raise DataError(f"cannot be read as a MIDI file ({reason:.100})") from error
