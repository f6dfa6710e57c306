"""Tunes that go on: the probabilities are those of the whole tune read at once."""

import numpy as np
import pytest
import torch

from dmu_search.data.midi import midi_content, read_tune
from dmu_search.generation.music import begun_before, continue_roll, notes_of
from dmu_search.generation.stepping import advance, read
from dmu_search.names import MODELS
from tests.generation.networks import a_roll, musician


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def floats(roll: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(roll).float()


@pytest.mark.parametrize("model", MODELS)
def test_step_by_step_the_logits_are_those_of_the_whole_tune(model):
    network, roll = musician(model), a_roll(12)
    with torch.no_grad():
        whole = network(floats(roll)[None])[0]
    standing = read(network, torch.from_numpy(roll[:5]))
    for step in range(5, len(roll)):
        # Products of single precision, in another order.
        torch.testing.assert_close(standing.outputs[0], whole[step - 1], rtol=1e-4, atol=1e-5)
        standing = advance(network, standing, x=floats(roll[step : step + 1]))
    torch.testing.assert_close(standing.outputs[0], whole[-1], rtol=1e-4, atol=1e-5)


def test_temperature_0_plays_what_is_more_probable_than_not():
    network, prompt = musician(), a_roll(4)
    added = continue_roll(network, prompt, steps=6, temperature=0, generator=generator(1))
    again = continue_roll(network, prompt, steps=6, temperature=0, generator=generator(2))
    assert np.array_equal(added, again)
    assert added.any()
    with torch.no_grad():
        whole = network(floats(np.concatenate([prompt, added]))[None])[0]
    assert np.array_equal(added, (whole[3:-1] > 0).numpy())


def test_one_seed_plays_one_tune_and_another_another():
    network, prompt = musician(), a_roll(4)
    tunes = [
        continue_roll(network, prompt, steps=5, generator=generator(seed)) for seed in (0, 0, 1)
    ]
    assert tunes[0].shape == (5, 88)
    assert np.array_equal(tunes[0], tunes[1])
    assert not np.array_equal(tunes[0], tunes[2])


def test_notes_sound_as_often_as_the_network_expects():
    network, prompt = musician(), a_roll(3)
    expected = torch.sigmoid(read(network, torch.from_numpy(prompt)).outputs[0] / 0.5).numpy()
    drawing = generator()
    drawn = [
        continue_roll(network, prompt, steps=1, temperature=0.5, generator=drawing)
        for _ in range(400)
    ]
    # Five standard deviations of a mean of 400.
    assert np.allclose(np.concatenate(drawn).mean(axis=0), expected, atol=5 * 0.5 / 20)


def test_a_roll_comes_back_from_its_notes_in_two_tracks():
    roll = a_roll(20)
    roll[:, 40] = 1  # sounds from beginning to end, through the boundary
    given, added = begun_before(notes_of(roll), 8)
    assert max(note.start for note in given) < 8 <= min(note.start for note in added)
    assert np.array_equal(read_tune(midi_content([given, added], names=("a", "b"))).roll, roll)
