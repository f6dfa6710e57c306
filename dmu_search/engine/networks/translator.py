"""An encoder and a decoder over words, as functions of a dict of weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dmu_search.engine.kernels.rows import PackedRows
from dmu_search.engine.kernels.words import likeliest_words
from dmu_search.engine.networks.cells import State
from dmu_search.engine.networks.cells.base import Shape
from dmu_search.engine.networks.network import Architecture, Network, Weights, build_network
from dmu_search.engine.settings import NetworkSettings

# Of source and target words, in paper and release.
EMBEDDING_SIZE = 650


@dataclass(frozen=True)
class Vocabulary:
    """Numbers of words, markers of start and end included.

    Attributes:
        source: of the language to translate from.
        target: of the language to translate to.
    """

    source: int
    target: int


@dataclass(frozen=True)
class Translator(Architecture):
    """A recurrent block that reads a sentence, and one that goes on from its last state.

    Sutskever, Vinyals and Le (2014), without the reversal of sentences; no tensors. Weights have
    the names of their own part behind ``encoder.`` or ``decoder.``, such as
    ``encoder.embedding.weight`` and ``decoder.readout_1.bias``, and a leading replica axis.

    Attributes:
        encoder: reads source words; no readout.
        decoder: reads target words, and puts out a logit for each; cells like the encoder's.
    """

    encoder: Network
    decoder: Network

    @property
    def _parts(self) -> dict[str, Network]:
        return {"encoder.": self.encoder, "decoder.": self.decoder}

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every weight, without the replica axis."""
        return {
            prefix + name: shape
            for prefix, part in self._parts.items()
            for name, shape in part.shapes.items()
        }

    @property
    def recurrent_weights(self) -> tuple[str, ...]:
        """Names of the weights of both recurrent blocks."""
        return tuple(
            prefix + name for prefix, part in self._parts.items() for name in part.recurrent_weights
        )

    @property
    def dense_layers(self) -> dict[str, int]:
        """Dense layer, from 1, of each weight of either DMU block; else empty."""
        return {
            prefix + name: layer
            for prefix, part in self._parts.items()
            for name, layer in part.dense_layers.items()
        }

    def initialise_one(self, generator: torch.Generator, dtype: torch.dtype) -> Weights:
        """Draw the weights of one replica, without replica axis, on the CPU."""
        return {
            prefix + name: weight
            for prefix, part in self._parts.items()
            for name, weight in part.initialise_one(generator, dtype).items()
        }

    def encode(
        self, weights: Mapping[str, Tensor], words: Tensor, *, rows: PackedRows
    ) -> tuple[State, ...]:
        """Read sentences from zero states.

        Args:
            weights: of the translator.
            words: packed source words, ``(replica, row)``.
            rows: their packing.

        Returns:
            The state of every cell after each sentence's own last word, in batch order,
            ``(replica, batch, hidden)`` per component: what the decoder begins with.
        """
        return self.encoder.recur(_behind("encoder.", weights), words, rows=rows)[1]

    def decode(
        self,
        weights: Mapping[str, Tensor],
        words: Tensor,
        *,
        rows: PackedRows,
        initial_state: tuple[State, ...],
    ) -> Tensor:
        """Read the right words, whatever the readout would have said.

        Args:
            weights: of the translator.
            words: packed target words, ``(replica, row)``.
            rows: their packing; sentences may be sorted otherwise than the source's.
            initial_state: of ``encode``.

        Returns:
            What the readout reads after each word, ``(replica, row, hidden)``.
        """
        own = _behind("decoder.", weights)
        return self.decoder.recur(own, words, rows=rows, initial_state=initial_state)[0]

    def step(
        self, weights: Mapping[str, Tensor], words: Tensor, state: tuple[State, ...]
    ) -> tuple[State, ...]:
        """Let the decoder read one word of each sentence.

        Args:
            weights: of the translator.
            words: ``(replica, batch)``.
            state: of every cell, ``(replica, batch, hidden)`` per component.

        Returns:
            The next state; the first component of the last cell's is what the readout reads.
        """
        return self.decoder.step(_behind("decoder.", weights), words, state)

    def readout(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Weight and bias of the layer that gives target words their logits."""
        return self.decoder.last_layer(_behind("decoder.", weights))

    def likeliest(self, weights: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
        """The target word with the largest logit, without gradients.

        Args:
            weights: of the translator.
            hidden: what the readout reads, ``(replica, row, hidden)``.

        Returns:
            ``(replica, row)``.
        """
        return likeliest_words(hidden, *self.readout(weights))


def build_translator(settings: NetworkSettings, vocabulary: Vocabulary) -> Translator:
    """Encoder and decoder of the same kind and widths.

    Raises:
        ConfigError: if there is no such model, or none of its kind with such widths.
    """

    def part(words: int, readout: tuple[int, ...]) -> Network:
        return build_network(settings, input_size=EMBEDDING_SIZE, readout=readout, vocabulary=words)

    return Translator(part(vocabulary.source, ()), part(vocabulary.target, (vocabulary.target,)))


def _behind(prefix: str, weights: Mapping[str, Tensor]) -> Weights:
    """The weights of a part, under their own names."""
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }
