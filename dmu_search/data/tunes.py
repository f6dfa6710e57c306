"""Composes folk-like tunes: chords under a melody, in C major or A minor, with repeated sections.

The tunes follow the plan of the Nottingham collection: about four notes per step, bars of eighth
notes, sections of four or eight bars that end on the dominant or the tonic, and forms such as AABB.
"""

from dataclasses import dataclass
from random import Random
from typing import TypeVar

from dmu_search.data.midi import Note

Choice = TypeVar("Choice")

CHORDS = {
    "C": (48, 52, 55),
    "Dm": (50, 53, 57),
    "Em": (52, 55, 59),
    "E7": (52, 56, 59, 62),
    "F": (53, 57, 60),
    "G": (55, 59, 62),
    "G7": (55, 59, 62, 65),
    "Am": (57, 60, 64),
}
# The white keys between a melody's lowest and highest note.
SCALE = tuple(pitch for pitch in range(62, 84) if pitch % 12 in (0, 2, 4, 5, 7, 9, 11))
# (form, weight): AABB is by far the most common form of the collection.
FORMS = (("AABB", 6), ("AAB", 1), ("ABA", 1), ("AB", 2))
SECTION_BARS = ((8, 3), (4, 1))
PICKUP_STEPS = ((0, 2), (1, 1), (2, 1))
# Melodies mostly move by one step of the scale, seldom leap.
MOVES = ((-1, 4), (1, 4), (-2, 1), (2, 1), (0, 1))


@dataclass(frozen=True)
class Mode:
    """A key with its common turns, four bars each.

    Args:
        tonic: pitch class that closed phrases end on.
        open_turns: chord of each bar of a phrase that ends on the dominant.
        closed_turns: chord of each bar of a phrase that ends on the tonic.
    """

    tonic: int
    open_turns: tuple[str, ...]
    closed_turns: tuple[str, ...]


MODES = (
    (Mode(0, ("C F C G", "C Am F G", "C C F G", "C Am Dm G7"), ("C F G7 C", "Am F G7 C")), 3),
    (Mode(9, ("Am G Am E7", "Am F G E7", "Am Dm Am E7"), ("Am Dm E7 Am", "F G E7 Am")), 1),
)


@dataclass(frozen=True)
class Metre:
    """A bar in eighth notes.

    Args:
        bar_steps: its length.
        rhythms: lengths of the melody notes of a bar.
        cadence: the rhythm of a bar that ends a phrase.
    """

    bar_steps: int
    rhythms: tuple[tuple[int, ...], ...]
    cadence: tuple[int, ...]


METRES = (
    (
        Metre(
            8,
            ((1,) * 8, (2, 1, 1, 2, 2), (2, 2, 1, 1, 1, 1), (3, 1, 2, 2), (2, 2, 2, 2)),
            (2, 2, 4),
        ),
        3,
    ),
    (Metre(6, ((1,) * 6, (2, 1, 2, 1), (3, 1, 1, 1), (2, 1, 1, 1, 1)), (2, 1, 3)), 2),
)


@dataclass(frozen=True)
class Bar:
    """One chord and the melody above it, as ``(pitch, length)`` pairs."""

    chord: str
    melody: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Tune:
    """Two voices, timed in steps of an eighth note."""

    melody: tuple[Note, ...]
    accompaniment: tuple[Note, ...]


def compose_tune(random: Random) -> Tune:
    """Compose one tune of 48 to 258 steps.

    Args:
        random: decides everything; the same state gives the same tune.
    """
    metre, mode = _draw(random, METRES), _draw(random, MODES)
    bars = _draw(random, SECTION_BARS)
    sections = {name: _compose_section(random, metre, mode=mode, bars=bars) for name in "AB"}
    form = _draw(random, FORMS)
    pickup = _draw(random, PICKUP_STEPS)
    return _lay_out([bar for name in form for bar in sections[name]], metre, pickup=pickup)


def _compose_section(random: Random, metre: Metre, *, mode: Mode, bars: int) -> list[Bar]:
    """Four bars that close, or eight: an open phrase answered by a closed one."""
    # Two rhythms recur through a section, which is what makes it sound like one.
    motifs = random.sample(metre.rhythms, 2)
    section: list[Bar] = []
    turns = [mode.closed_turns] if bars == 4 else [mode.open_turns, mode.closed_turns]
    pitch = random.choice((67, 69, 71, 72, 74))
    for choices in turns:
        chords = random.choice(choices).split()
        for position, chord in enumerate(chords):
            last = position == len(chords) - 1
            rhythm = metre.cadence if last else motifs[position % 2]
            melody = _compose_melody(random, chord, rhythm=rhythm, pitch=pitch)
            if last and choices is mode.closed_turns:
                melody[-1] = _nearest(melody[-1], {mode.tonic})
            section.append(Bar(chord, tuple(zip(melody, rhythm, strict=True))))
            pitch = melody[-1]
    return section


def _compose_melody(
    random: Random, chord: str, *, rhythm: tuple[int, ...], pitch: int
) -> list[int]:
    """Pitches of one bar: a note of the chord on its first beat and wherever a note is held."""
    chord_classes = {note % 12 for note in CHORDS[chord]}
    pitches = []
    for position, length in enumerate(rhythm):
        pitch = _move(pitch, _draw(random, MOVES))
        if position == 0 or length > 2:
            pitch = _nearest(pitch, chord_classes)
        pitches.append(pitch)
    return pitches


def _move(pitch: int, degrees: int) -> int:
    """Go up or down the scale, and turn round at its ends."""
    here = min(range(len(SCALE)), key=lambda degree: abs(SCALE[degree] - pitch))
    there = here + degrees
    return SCALE[there] if 0 <= there < len(SCALE) else SCALE[here - degrees]


def _nearest(pitch: int, classes: set[int]) -> int:
    """The closest pitch of these classes within the melody's range, the lower one of two."""
    candidates = [note for note in range(SCALE[0], SCALE[-1] + 1) if note % 12 in classes]
    return min(candidates, key=lambda note: (abs(note - pitch), note))


def _lay_out(bars: list[Bar], metre: Metre, *, pickup: int) -> Tune:
    """Put bars one after the other; the pickup leads into the first from below."""
    first = bars[0].melody[0][0]
    melody = [Note(_move(first, step - pickup), step, 1) for step in range(pickup)]
    accompaniment = []
    for number, bar in enumerate(bars):
        start = pickup + number * metre.bar_steps
        accompaniment += [Note(pitch, start, metre.bar_steps) for pitch in CHORDS[bar.chord]]
        for pitch, length in bar.melody:
            melody.append(Note(pitch, start, length))
            start += length
    return Tune(tuple(melody), tuple(accompaniment))


def _draw(random: Random, weighted: tuple[tuple[Choice, int], ...]) -> Choice:
    weights = [weight for _, weight in weighted]
    return random.choices(weighted, weights)[0][0]
