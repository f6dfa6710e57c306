import io

import pytest
import torch

from dmu_search.engine.kernels.rows import full_rows
from dmu_search.engine.networks.module import TrainedNetwork, describe
from dmu_search.engine.networks.network import build_network
from dmu_search.engine.networks.translator import Vocabulary, build_translator
from dmu_search.engine.settings import NetworkSettings


def weights_of(architecture):
    drawn = architecture.initialise([torch.Generator().manual_seed(3)])
    return {name: weight[0] for name, weight in drawn.items()}


@pytest.mark.parametrize("model", ["dmu", "lstm"])
def test_a_module_gives_what_its_network_gives_each_sequence(model):
    settings = NetworkSettings(model, (4, 4))
    network = build_network(settings, input_size=3, readout=(2,))
    weights = weights_of(network)
    module = TrainedNetwork(describe(network, settings), weights)
    x = torch.randn(5, 7, 3)
    together = module(x)
    assert together.shape == (5, 7, 2)
    own = {name: weight[None] for name, weight in weights.items()}
    for sequence, found in zip(x, together, strict=True):
        rows = full_rows(1, 1, times=7, device=x.device)
        alone, _ = network.forward(own, sequence[None], rows=rows)
        torch.testing.assert_close(found, alone[0])


def test_a_module_survives_its_pickle_and_can_be_trained_on():
    settings = NetworkSettings("rhn", (4, 4))
    network = build_network(settings, input_size=3, readout=(2,))
    module = TrainedNetwork(describe(network, settings), weights_of(network))
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    x = module.example()
    torch.testing.assert_close(again(x), module(x))
    again(x).sum().backward()
    assert all(weight.grad is not None for weight in again.parameters())


def test_a_translator_reads_two_sentences():
    settings = NetworkSettings("gru", (4,))
    translator = build_translator(settings, Vocabulary(6, 8))
    module = TrainedNetwork(describe(translator, settings), weights_of(translator))
    words = torch.randint(0, 6, (2, 5))
    assert module(words, words).shape == (2, 5, 8)
