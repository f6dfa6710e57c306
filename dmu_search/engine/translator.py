"""An encoder and a decoder with an embedding each, as functions of a dict of weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dmu_search.engine.cells import State, recurrent_block
from dmu_search.engine.cells.base import Shape, uniform
from dmu_search.engine.network import Architecture, Network, Weights
from dmu_search.engine.rows import PackedRows
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.words import embed, likeliest_words

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

    Sutskever, Vinyals and Le (2014), without the reversal of sentences; no tensors. Weights are
    ``source_embedding.weight``, ``target_embedding.weight``, those of the blocks behind
    ``encoder.`` and ``decoder.``, as in ``encoder.cell_1.dense_1.input``, and ``readout_1.weight``
    and ``readout_1.bias``, each with a leading replica axis.

    Attributes:
        encoder: reads embedded source words; no readout.
        decoder: reads embedded target words; cells like the encoder's; no readout.
        vocabulary: rows of the embeddings; the readout has an output per target word.
    """

    encoder: Network
    decoder: Network
    vocabulary: Vocabulary

    @property
    def _blocks(self) -> dict[str, Network]:
        return {"encoder.": self.encoder, "decoder.": self.decoder}

    @property
    def _hidden_size(self) -> int:
        return self.decoder.cells[-1].hidden_size

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every weight, without the replica axis."""
        blocks = {
            prefix + name: shape
            for prefix, block in self._blocks.items()
            for name, shape in block.shapes.items()
        }
        return {
            "source_embedding.weight": (self.vocabulary.source, EMBEDDING_SIZE),
            "target_embedding.weight": (self.vocabulary.target, EMBEDDING_SIZE),
            **blocks,
            "readout_1.weight": (self._hidden_size, self.vocabulary.target),
            "readout_1.bias": (1, self.vocabulary.target),
        }

    @property
    def recurrent_weights(self) -> tuple[str, ...]:
        """Names of the weights of both recurrent blocks."""
        return tuple(name for name in self.shapes if name.startswith(tuple(self._blocks)))

    @property
    def dense_layers(self) -> dict[str, int]:
        """Dense layer, from 1, of each weight of either DMU block; else empty."""
        return {
            prefix + name: layer
            for prefix, block in self._blocks.items()
            for name, layer in block.dense_layers.items()
        }

    def initialise_one(self, generator: torch.Generator, dtype: torch.dtype) -> Weights:
        """Draw one replica's weights: what is no recurrent block as PyTorch does by default."""
        weights: Weights = {
            name: torch.empty(self.shapes[name], dtype=dtype).normal_(generator=generator)
            for name in ("source_embedding.weight", "target_embedding.weight")
        }
        for prefix, block in self._blocks.items():
            own = block.initialise_one(generator, dtype)
            weights |= {prefix + name: weight for name, weight in own.items()}
        bound = 1.0 / math.sqrt(self._hidden_size)  # that of `torch.nn.Linear`
        for name in ("readout_1.weight", "readout_1.bias"):
            weights[name] = uniform(self.shapes[name], bound, generator, dtype)
        return weights

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
        x = embed(weights["source_embedding.weight"], words)
        return self.encoder.recur(_part(weights, "encoder."), x, rows=rows)[1]

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
        x = embed(weights["target_embedding.weight"], words)
        own = _part(weights, "decoder.")
        return self.decoder.recur(own, x, rows=rows, initial_state=initial_state)[0]

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
        x = embed(weights["target_embedding.weight"], words)
        return self.decoder.step(_part(weights, "decoder."), x, state)

    def likeliest(self, weights: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
        """The target word with the largest output, without gradients.

        Args:
            weights: of the translator.
            hidden: what the readout reads, ``(replica, row, hidden)``.

        Returns:
            ``(replica, row)``.
        """
        return likeliest_words(hidden, weights["readout_1.weight"], weights["readout_1.bias"])


def build_translator(settings: NetworkSettings, vocabulary: Vocabulary) -> Translator:
    """Encoder and decoder of the same kind and widths.

    Raises:
        ConfigError: if there is no such model, or none of its kind with such widths.
    """
    block = Network(recurrent_block(EMBEDDING_SIZE, settings), readout=())
    return Translator(block, block, vocabulary)


def _part(weights: Mapping[str, Tensor], prefix: str) -> Weights:
    """The weights of a block, under their own names."""
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }
