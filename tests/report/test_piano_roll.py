"""Pictures of piano rolls, also of silence and under any title."""

import numpy as np

from dmu_search.report.piano_roll import piano_roll_picture
from tests.generation.networks import a_roll

SILENCE = np.zeros((4, 88), np.uint8)


def test_the_same_rolls_give_the_same_bytes_and_others_others():
    pictures = [
        piano_roll_picture(prompt, added, step_s=0.25, title="$x^{ [/] \x1b[2J")
        for prompt, added in ((a_roll(4), SILENCE), (a_roll(4), SILENCE), (SILENCE, a_roll(4)))
    ]
    assert all(each.startswith(b"\x89PNG") for each in pictures)
    assert pictures[0] == pictures[1] != pictures[2]


def test_silence_is_a_picture_too():
    assert piano_roll_picture(SILENCE, SILENCE, step_s=0.25, title="").startswith(b"\x89PNG")
