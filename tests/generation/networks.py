"""Small trained-like networks of every model: weights as they are drawn."""

import numpy as np
import torch

from dmu_search.engine.networks.module import TrainedNetwork, describe
from dmu_search.engine.networks.network import Architecture, build_network
from dmu_search.engine.networks.translator import Vocabulary, build_translator
from dmu_search.engine.settings import NetworkSettings


def drawn(architecture: Architecture, settings: NetworkSettings, seed: int = 0) -> TrainedNetwork:
    """The network with weights of a seed, large enough for its outputs to differ."""
    weights = architecture.initialise([torch.Generator().manual_seed(seed)])
    own = {name: 2.0 * weight[0] for name, weight in weights.items()}
    return TrainedNetwork(describe(architecture, settings), own)


def musician(model: str = "dmu", depth: int = 2) -> TrainedNetwork:
    settings = NetworkSettings(model, (6,) * depth)
    return drawn(build_network(settings, input_size=88, readout=(88,)), settings)


def writer(model: str = "dmu", depth: int = 2, words: int = 9) -> TrainedNetwork:
    settings = NetworkSettings(model, (6,) * depth)
    network = build_network(settings, input_size=5, readout=(7, words), vocabulary=words)
    return drawn(network, settings)


def translator(
    model: str = "gru", depth: int = 1, *, source: int = 7, target: int = 6, seed: int = 0
) -> TrainedNetwork:
    settings = NetworkSettings(model, (4,) * depth)
    return drawn(build_translator(settings, Vocabulary(source, target)), settings, seed)


def a_roll(steps: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((steps, 88)) < 0.05).astype(np.uint8)
