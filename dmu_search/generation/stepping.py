"""A network that is read from step by step: its state is carried, so no step is computed twice."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from dmu_search.engine.kernels.rows import full_rows
from dmu_search.engine.networks.cells import State
from dmu_search.engine.networks.module import TrainedNetwork
from dmu_search.engine.networks.network import Network
from dmu_search.engine.networks.translator import Translator
from dmu_search.engine.tasks.sentences import END, START


@dataclass(frozen=True, eq=False)
class Standing:
    """Sequences at one step.

    Attributes:
        outputs: linear outputs for the step to come: logits, ``(batch, output)``.
        state: of every cell, ``(1, batch, hidden)`` per component.
    """

    outputs: Tensor
    state: tuple[State, ...]

    def take(self, index: Tensor) -> "Standing":
        """Some of the sequences, maybe several times, ``index`` being ``(taken,)``."""
        state = tuple(tuple(part[:, index] for part in cell) for cell in self.state)
        return Standing(self.outputs[index], state)


@torch.inference_mode()
def read(network: TrainedNetwork, x: Tensor) -> Standing:
    """Read the beginning of a sequence from a state of zeros, all steps by the native loop.

    Args:
        network: that predicts the next step.
        x: notes as bytes, ``(time, 88)``, or words, ``(time,)``; at least one step.
    """
    architecture, weights = cast(Network, network.architecture), network.weights
    rows = full_rows(1, 1, times=len(x), device=x.device)
    states, final = architecture.recur(weights, x[None], rows=rows)
    return Standing(architecture.read(weights, states[:, -1:])[0], final)


@torch.inference_mode()
def advance(network: TrainedNetwork, standing: Standing, *, x: Tensor) -> Standing:
    """Let each sequence take one more step.

    Args:
        network: of ``read`` or ``read_source``.
        standing: of the step before.
        x: what comes next: notes as numbers, ``(batch, 88)``, or words, ``(batch,)``.
    """
    architecture, weights = network.architecture, network.weights
    if isinstance(architecture, Translator):
        state = architecture.step(weights, x[None], standing.state)
        weight, bias = architecture.readout(weights)
        return Standing((state[-1][0] @ weight + bias)[0], state)
    own = cast(Network, architecture)
    state = own.step(weights, x[None], standing.state)
    return Standing(own.read(weights, state[-1][0])[0], state)


@torch.inference_mode()
def read_source(network: TrainedNetwork, words: Tensor) -> Standing:
    """Read a sentence to translate; the decoder then stands before the first word.

    Args:
        network: a translator.
        words: of the source, without markers, ``(word,)``.
    """
    translator, weights = cast(Translator, network.architecture), network.weights
    marked = torch.cat([words.new_tensor([START]), words, words.new_tensor([END])])
    rows = full_rows(1, 1, times=len(marked), device=words.device)
    state = translator.encode(weights, marked[None], rows=rows)
    return advance(network, Standing(words.new_empty(1, 0), state), x=words.new_tensor([START]))


def draw_word(logits: Tensor, temperature: float, *, generator: torch.Generator) -> Tensor:
    """One word of each row, by chance: ``p(word) = softmax(logits / temperature)``.

    Args:
        logits: ``(batch, word)``.
        temperature: above 0; 0 stands for the most probable word.
        generator: on the CPU; it advances, but for a temperature of 0.

    Returns:
        ``(batch,)``.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    # Less than 0, so that no temperature makes them too large.
    shifted = logits.double() - logits.double().amax(dim=-1, keepdim=True)
    probabilities = torch.softmax(shifted / temperature, dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]
