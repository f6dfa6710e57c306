"""A tune that a network went on with, as a picture: time, pitch, and who played what."""

import io

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch

from dmu_search.data.piano_rolls import LOWEST_NOTE
from dmu_search.engine.tasks.polymusic import Roll
from dmu_search.generation.music import notes_of
from dmu_search.report.panels import BLUE, GREY, ORANGE
from dmu_search.report.pictures import STYLE
from dmu_search.report.words import visible

_OCTAVE = 12
# Inches; a picture of some hundred steps, beyond which notes get narrower.
_SIZE = (10.0, 4.2)


def piano_roll_picture(prompt: Roll, continuation: Roll, *, step_s: float, title: str) -> bytes:
    """The picture as PNG; the same rolls always give the same bytes.

    Args:
        prompt: what was given, ``(time, 88)``; column 0 is MIDI note 21.
        continuation: what was added, ``(steps, 88)``.
        step_s: seconds of a step, for the second axis of time.
        title: above it.
    """
    boundary = len(prompt)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=_SIZE, layout="constrained")
        axes = canvas.subplots()
        axes.set_axisbelow(True)
        pitches = _draw(axes, prompt, at=0, color=BLUE)
        pitches |= _draw(axes, continuation, at=boundary, color=ORANGE)
        axes.axvline(boundary, color=GREY, linestyle="--", linewidth=1.2)
        axes.set_xlim(0, boundary + len(continuation))
        _label_pitches(axes, pitches)
        axes.set_xlabel("step")
        above = axes.twiny()
        above.set_xlim(0, (boundary + len(continuation)) * step_s)
        above.set_xlabel("seconds at 120 quarter notes a minute")
        above.spines["top"].set_visible(True)
        above.grid(visible=False)
        shown = {BLUE: "prompt, given", ORANGE: "continuation, generated"}
        canvas.legend(
            handles=[Patch(color=color, label=label) for color, label in shown.items()],
            loc="outside lower right",
            ncols=2,
        )
        # A name of others may hold what matplotlib takes for a formula.
        canvas.suptitle(visible(title).replace("$", r"\$"), fontsize=11)
        content = io.BytesIO()
        canvas.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()


def _draw(axes: Axes, roll: Roll, *, at: int, color: str) -> set[int]:
    """Bars for the notes of a roll that begins at step ``at``; returns the pitches drawn."""
    notes = notes_of(roll)
    axes.barh(
        [note.pitch for note in notes],
        [note.length for note in notes],
        left=[at + note.start for note in notes],
        height=0.9,
        color=color,
        edgecolor="white",
        linewidth=0.5,
    )
    return {note.pitch for note in notes}


def _label_pitches(axes: Axes, pitches: set[int]) -> None:
    """Names at each C, and a margin around the notes that there are; all 88 if there are none."""
    highest_key = LOWEST_NOTE + 87
    lowest, highest = min(pitches, default=LOWEST_NOTE), max(pitches, default=highest_key)
    axes.set_ylim(lowest - 2, highest + 2)
    first = -(-(lowest - 2) // _OCTAVE) * _OCTAVE
    marks = range(first, highest + 3, _OCTAVE)
    # Middle C, MIDI note 60, is C4.
    axes.set_yticks(list(marks), [f"C{mark // _OCTAVE - 1}" for mark in marks])
    axes.set_ylabel("pitch (C4: MIDI note 60)")
