"""MIDI files to piano rolls and back. This module alone imports pretty_midi."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dmu_search.data.piano_rolls import LOWEST_NOTE
from dmu_search.engine.tasks.polymusic import NOTES, Roll
from dmu_search.errors import DataError

EIGHTH = Fraction(1, 8)
_RESOLUTION = 480
_TICKS_PER_EIGHTH = _RESOLUTION // 2
_VELOCITY = 90


@dataclass(frozen=True)
class Note:
    """One note, timed in steps.

    Args:
        pitch: MIDI note number.
        start: step at which it begins to sound.
        length: number of steps that it sounds for; 0 is a note read from between two steps.
    """

    pitch: int
    start: int
    length: int


def read_midi(path: Path, *, note_value: Fraction = EIGHTH) -> Roll:
    """Read the piano roll of a MIDI file.

    A note belongs to step ``k`` if it sounds at the beginning of that step. Positions are counted
    in ticks of the file, which follow the notated rhythm, so that tempo changes do not matter.
    Drums and notes outside 21 to 108 are left out; the roll ends with its last pitched note.

    Args:
        path: a standard MIDI file.
        note_value: length of a step as a fraction of a whole note.

    Returns:
        ``(time, 88)``, 1 where a note sounds; column 0 is MIDI note 21.

    Raises:
        DataError: the file cannot be read, or no note of the 88 sounds on any step.
    """
    notes = _read_notes(path, note_value)
    roll = np.zeros((max((note.start + note.length for note in notes), default=0), NOTES), np.uint8)
    for note in notes:
        if 0 <= note.pitch - LOWEST_NOTE < NOTES:
            roll[note.start : note.start + note.length, note.pitch - LOWEST_NOTE] = 1
    if not roll.any():
        raise DataError(
            f"{path}: no note between {LOWEST_NOTE} and {LOWEST_NOTE + NOTES - 1} sounds on a "
            "step (drums do not count)"
        )
    return roll


def write_midi(path: Path, voices: Sequence[Sequence[Note]]) -> None:
    """Write a tune whose step is an eighth note, one track per voice.

    The same voices always give the same bytes. Silence after the last note is not kept.

    Args:
        path: the file to write; its folder must exist.
        voices: notes of each voice.
    """
    import pretty_midi  # type: ignore[import-untyped]

    midi = pretty_midi.PrettyMIDI(resolution=_RESOLUTION)
    for notes in voices:
        track = pretty_midi.Instrument(program=0)
        for note in notes:
            start = midi.tick_to_time(note.start * _TICKS_PER_EIGHTH)
            end = midi.tick_to_time((note.start + note.length) * _TICKS_PER_EIGHTH)
            track.notes.append(pretty_midi.Note(_VELOCITY, note.pitch, start, end))
        midi.instruments.append(track)
    midi.write(str(path))


def roll_to_notes(roll: Roll) -> tuple[Note, ...]:
    """The notes of a piano roll; neighbouring steps of one pitch are one held note.

    Args:
        roll: ``(time, 88)``.
    """
    silence = np.zeros((1, NOTES), np.int8)
    changes = np.diff(np.concatenate([silence, roll.astype(np.int8), silence]), axis=0).T
    # Row by row of the transpose, onsets and ends of one pitch alternate, so they pair up in order.
    pitches, starts = np.nonzero(changes == 1)
    ends = np.nonzero(changes == -1)[1]
    return tuple(
        Note(int(pitch) + LOWEST_NOTE, int(start), int(end - start))
        for pitch, start, end in zip(pitches, starts, ends, strict=True)
    )


def _read_notes(path: Path, note_value: Fraction) -> list[Note]:
    """Notes of all pitched instruments, on the grid of steps; some may have length 0."""
    midi = _parse(path)
    ticks_per_step = 4 * midi.resolution * note_value
    notes = []
    for instrument in midi.instruments:
        for heard in () if instrument.is_drum else instrument.notes:
            start = math.ceil(int(midi.time_to_tick(heard.start)) / ticks_per_step)
            end = math.ceil(int(midi.time_to_tick(heard.end)) / ticks_per_step)
            notes.append(Note(heard.pitch, start, end - start))
    return notes


def _parse(path: Path) -> Any:
    import pretty_midi

    try:
        with warnings.catch_warnings():
            # It warns of tempo events in unusual tracks, which positions in ticks do not need.
            warnings.simplefilter("ignore", RuntimeWarning)
            return pretty_midi.PrettyMIDI(str(path))
    # The parser raises EOFError, OSError, ValueError, IndexError, KeyError and errors of its own.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: cannot be read as a MIDI file ({reason})") from error
