"""Tunes that go on: the steps that a PolyMusic network expects after a beginning."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dmu_search.data.midi import Note
from dmu_search.data.piano_rolls import LOWEST_NOTE
from dmu_search.engine.networks.module import TrainedNetwork
from dmu_search.engine.tasks.polymusic import Roll
from dmu_search.generation.stepping import advance, read


def continue_roll(
    network: TrainedNetwork,
    prompt: Roll,
    *,
    steps: int,
    temperature: float = 1.0,
    generator: torch.Generator,
) -> Roll:
    """What a network plays after a beginning, each step drawn from what it expects there.

    A note sounds with the probability ``sigmoid(logit / temperature)``, independently of the other
    notes of its step, as the task scores them.

    Args:
        network: trained on ``polymusic``.
        prompt: the beginning as a piano roll, ``(time, 88)``, at least one step.
        steps: to add, at least 1.
        temperature: 1 draws as the network expects, less is more certain; 0 plays the notes that
            are more probable than not.
        generator: on the CPU; it advances, but for a temperature of 0.

    Returns:
        The added steps alone, 1 where a note sounds, ``(steps, 88)``.
    """
    standing = read(network, torch.from_numpy(prompt))
    played = []
    for _ in range(steps):
        notes = _drawn(standing.outputs, temperature, generator=generator)
        played.append(notes)
        standing = advance(network, standing, x=notes)
    return torch.cat(played).to(torch.uint8).numpy()


def _drawn(logits: Tensor, temperature: float, *, generator: torch.Generator) -> Tensor:
    """1 where a note sounds, in the precision of ``logits``, ``(batch, 88)``."""
    if temperature == 0:
        return (logits > 0).to(logits.dtype)
    return torch.bernoulli(torch.sigmoid(logits / temperature), generator=generator)


def notes_of(roll: Roll) -> list[Note]:
    """The notes of a piano roll by time and pitch: steps in a row that sound are one note.

    Args:
        roll: ``(time, 88)``; column 0 is MIDI note 21.
    """
    silence = np.zeros((1, roll.shape[1]), np.int8)
    changes = np.diff(roll.astype(np.int8), axis=0, prepend=silence, append=silence)
    notes = []
    for column in range(roll.shape[1]):
        starts = np.flatnonzero(changes[:, column] == 1)
        ends = np.flatnonzero(changes[:, column] == -1)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            notes.append(Note(LOWEST_NOTE + column, start, end - start))
    return sorted(notes, key=lambda note: (note.start, note.pitch))


def begun_before(notes: Sequence[Note], step: int) -> tuple[list[Note], list[Note]]:
    """Notes that begin before a step, and those that begin at it or later."""
    return (
        [note for note in notes if note.start < step],
        [note for note in notes if note.start >= step],
    )
