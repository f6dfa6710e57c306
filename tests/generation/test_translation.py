"""Beam search beside the greedy words of the task, the plain forward pass, and all there is."""

import itertools

import numpy as np
import pytest
import torch

from dmu_search.engine.networks.module import TrainedNetwork, describe
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks.sentences import END, START
from dmu_search.engine.tasks.translation import Translation
from dmu_search.generation.translation import draw_translation, translate
from dmu_search.names import MODELS
from tests.engine.conftest import small_pairs
from tests.generation.networks import translator


def log_probability(network: TrainedNetwork, source: list[int], words: tuple[int, ...]) -> float:
    """Sum over words of their log-probabilities, all read by the module in one pass."""
    read = torch.tensor([[START, *source, END]])
    with torch.no_grad():
        outputs = network(read, torch.tensor([[START, *words[:-1]]]))[0].double()
    own = torch.log_softmax(outputs, dim=-1)[range(len(words)), list(words)]
    return float(own.sum())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("beam", [1, 3])
def test_a_score_is_the_mean_of_the_words_log_probabilities(model, beam):
    network, source = translator(model), [2, 5, 3]
    found = translate(network, source, beam=beam, longest=6)
    own = log_probability(network, source, found.words)
    # Products of single precision, in another order.
    assert found.log_probability == pytest.approx(own, abs=1e-4)
    assert found.score == pytest.approx(own / len(found.words), abs=1e-4)


def test_a_beam_of_one_is_the_greedy_translation_of_the_task():
    pairs, settings = small_pairs(), NetworkSettings("gru", (4,))
    task = Translation(pairs)
    architecture = task.network(settings)
    weights = architecture.initialise([torch.Generator().manual_seed(3)])
    network = TrainedNetwork(
        describe(architecture, settings), {name: each[0] for name, each in weights.items()}
    )
    (greedy,) = task.translate(architecture, weights, split="test")
    source = pairs.test.source
    for marked, expected in zip(
        np.split(source.words, source.starts[1:]), greedy.tolist(), strict=True
    ):
        found = translate(network, marked[1:-1].tolist(), longest=task.longest).words
        assert [*found, *[END] * (task.longest - len(found))] == expected


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_that_holds_everything_finds_the_best_of_all(seed):
    network, source, longest = translator(seed=seed, target=4), [2, 4], 4
    said = [word for word in range(4) if word != END]
    everything = [
        (*words, END) for count in range(longest) for words in itertools.product(said, repeat=count)
    ]
    best = max(everything, key=lambda words: log_probability(network, source, words) / len(words))
    assert translate(network, source, beam=1000, longest=longest).words == best


def test_a_wider_beam_stays_within_its_places():
    network = translator(target=12)
    for beam in (1, 2, 5):
        assert len(translate(network, [3], beam=beam, longest=7).words) <= 7


def test_drawn_translations_follow_the_seed():
    network = translator()

    def draw(seed: int, temperature: float = 1.0):
        drawing = torch.Generator().manual_seed(seed)
        return draw_translation(
            network, [2, 3], temperature=temperature, longest=6, generator=drawing
        )

    assert draw(0) == draw(0)
    assert len({draw(seed).words for seed in range(8)}) > 1
    assert draw(0).log_probability == pytest.approx(
        log_probability(network, [2, 3], draw(0).words), abs=1e-4
    )
    greedy = translate(network, [2, 3], longest=6)
    assert draw(0, temperature=1e-9).words == greedy.words
