"""The names of models and tasks, without what they compute: help and keys need no torch."""

from typing import Literal

Direction = Literal["minimize", "maximize"]

MODELS = ("dmu", "rhn", "lstm", "gru", "rnn")

SYNTHETIC = ("adding", "tempord", "noiseseq")
TRANSLATION = ("spa2eng", "por2eng", "ger2eng")
ON_FILES = ("polymusic", "natlang", *TRANSLATION)
TASKS = (*SYNTHETIC, *ON_FILES)
# Those whose objective is a loss.
MINIMISED = (*SYNTHETIC, "polymusic", "natlang")


def signed_loss(value: float, direction: Direction) -> float:
    """A number that is the smaller the better the objective's ``value`` is."""
    return value if direction == "minimize" else -value
