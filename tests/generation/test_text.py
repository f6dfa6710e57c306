"""Text that goes on: the probabilities are those of the whole text read at once."""

import pytest
import torch

from dmu_search.generation.stepping import advance, draw_word, read
from dmu_search.generation.text import as_lines, continue_words, known_words
from dmu_search.names import MODELS
from tests.generation.networks import writer

WORDS = ("<eos>", "the", "market", "fell", "<unk>", "N")


def write(network, seed=0, **changes):
    return continue_words(
        network, WORDS, count=8, generator=torch.Generator().manual_seed(seed), **changes
    )


@pytest.mark.parametrize("model", MODELS)
def test_step_by_step_the_logits_are_those_of_the_whole_text(model):
    network, text = writer(model), torch.tensor([0, 3, 1, 8, 2, 2, 5])
    with torch.no_grad():
        whole = network(text[None])[0]
    standing = read(network, text[:1])
    for step in range(1, len(text)):
        torch.testing.assert_close(standing.outputs[0], whole[step - 1], rtol=1e-4, atol=1e-5)
        standing = advance(network, standing, x=text[step : step + 1])


def test_temperature_0_writes_the_most_probable_words_that_there_are():
    network = writer()
    added = write(network, prompt=("the", "market"), temperature=0)
    numbers = [WORDS.index(word) for word in ("<eos>", "the", "market", *added)]
    with torch.no_grad():
        # The network has more outputs than the text has words.
        whole = network(torch.tensor(numbers)[None])[0][:, : len(WORDS)]
    assert numbers[3:] == whole.argmax(dim=-1)[2:-1].tolist()
    assert added == write(network, seed=5, prompt=("the", "market"), temperature=0)


def test_one_seed_writes_one_text_and_another_another():
    network = writer()
    assert write(network) == write(network)
    assert write(network) != write(network, seed=1)


def test_the_least_temperature_draws_the_most_probable_word():
    logits = torch.tensor([[0.0, 1e-3, -2.0], [5.0, 4.0, 5.5]])
    drawn = draw_word(logits, 1e-300, generator=torch.Generator().manual_seed(0))
    assert drawn.tolist() == [1, 2]


def test_unknown_words_are_named_once():
    text = "The Market zigzags and ZIGZAGS N zigzags"
    assert known_words(text, WORDS) == (
        ["the", "market", "<unk>", "<unk>", "<unk>", "N", "<unk>"],
        ["zigzags", "and", "ZIGZAGS"],
    )


def test_a_line_ends_where_the_network_ends_it():
    assert as_lines(["the", "<eos>", "N", "fell", "<eos>"]) == "the\nN fell\n"
