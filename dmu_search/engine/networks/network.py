"""A recurrent block with its readout, as functions of a dict of weights."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dmu_search.engine.kernels.products import affine
from dmu_search.engine.kernels.rows import Rows
from dmu_search.engine.kernels.words import embed
from dmu_search.engine.networks.cells import Cell, State, recurrent_block
from dmu_search.engine.networks.cells.base import Shape, uniform
from dmu_search.engine.networks.scan import recur
from dmu_search.engine.settings import NetworkSettings

Weights = dict[str, Tensor]
EMBEDDING = "embedding.weight"


class Architecture(ABC):
    """What the trainer and the optimiser ask of a network: names and shapes, but no tensors."""

    @property
    @abstractmethod
    def shapes(self) -> dict[str, Shape]:
        """Shape of every weight, without the replica axis."""

    @property
    @abstractmethod
    def recurrent_weights(self) -> tuple[str, ...]:
        """Names of the weights of recurrent blocks."""

    @property
    @abstractmethod
    def dense_layers(self) -> dict[str, int]:
        """Dense layer, from 1, of each weight that belongs to one of a DMU block; else empty."""

    @property
    def weight_count(self) -> int:
        """Trainable numbers of one replica."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def initialise(
        self, generators: Sequence[torch.Generator], dtype: torch.dtype = torch.float32
    ) -> Weights:
        """Draw all replicas' weights, each from its own generator, on the CPU.

        Args:
            generators: one per replica, on the CPU; they advance.
            dtype: of the weights.

        Returns:
            Weights with a leading replica axis.
        """
        replicas = [self.initialise_one(generator, dtype) for generator in generators]
        return {name: torch.stack([one[name] for one in replicas]) for name in replicas[0]}

    @abstractmethod
    def initialise_one(self, generator: torch.Generator, dtype: torch.dtype) -> Weights:
        """Draw the weights of one replica, without replica axis, on the CPU."""


@dataclass(frozen=True)
class Network(Architecture):
    """Recurrent cells in a row, then dense layers with ReLU between them; no tensors.

    Weights are named ``embedding.weight``, ``cell_1.<name in the cell>``, ``readout_1.weight``,
    ``readout_1.bias`` and so on, each with a leading replica axis.

    Attributes:
        cells: each reads the states of the one before.
        readout: width of each dense layer; the last puts out the network's linear outputs.
        vocabulary: words whose embeddings the first cell reads; None: it reads the inputs.
    """

    cells: tuple[Cell, ...]
    readout: tuple[int, ...]
    vocabulary: int | None = None

    @property
    def _embedding_shapes(self) -> dict[str, Shape]:
        if self.vocabulary is None:
            return {}
        return {EMBEDDING: (self.vocabulary, self.cells[0].input_size)}

    @property
    def _readout_inputs(self) -> tuple[int, ...]:
        return (self.cells[-1].hidden_size, *self.readout)[:-1]

    @property
    def _readout_shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        sizes = zip(self._readout_inputs, self.readout, strict=True)
        for number, (inputs, outputs) in enumerate(sizes, start=1):
            shapes[f"readout_{number}.weight"] = (inputs, outputs)
            shapes[f"readout_{number}.bias"] = (1, outputs)
        return shapes

    @property
    def recurrent_weights(self) -> tuple[str, ...]:
        """Names of the weights of the recurrent block."""
        return tuple(name for name in self.shapes if name.startswith("cell_"))

    @property
    def dense_layers(self) -> dict[str, int]:
        """Dense layer, from 1, of each weight that belongs to one of a DMU block; else empty."""
        return {
            f"cell_{number}.{name}": layer
            for number, cell in enumerate(self.cells, start=1)
            for name, layer in cell.dense_layers.items()
        }

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every weight, without the replica axis."""
        recurrent = {
            f"cell_{number}.{name}": shape
            for number, cell in enumerate(self.cells, start=1)
            for name, shape in cell.shapes.items()
        }
        return self._embedding_shapes | recurrent | self._readout_shapes

    @property
    def recurrent_weight_count(self) -> int:
        """Trainable numbers of one replica's recurrent block."""
        return sum(cell.weight_count for cell in self.cells)

    def initialise_one(self, generator: torch.Generator, dtype: torch.dtype) -> Weights:
        """Draw the weights of one replica, without replica axis, on the CPU."""
        weights: Weights = {}
        for name, shape in self._embedding_shapes.items():
            # That of `torch.nn.Embedding`.
            weights[name] = torch.randn(shape, dtype=dtype, generator=generator)
        for number, cell in enumerate(self.cells, start=1):
            own = cell.initialise(generator, dtype)
            weights |= {f"cell_{number}.{name}": weight for name, weight in own.items()}
        for number, inputs in enumerate(self._readout_inputs, start=1):
            for name in (f"readout_{number}.weight", f"readout_{number}.bias"):
                bound = 1.0 / math.sqrt(inputs)  # that of `torch.nn.Linear`
                weights[name] = uniform(self.shapes[name], bound, generator=generator, dtype=dtype)
        return weights

    def initial_state(self, rows: Rows, like: Tensor) -> tuple[State, ...]:
        """Zeros, ``(replica, batch, hidden)`` per component, a tuple of those per cell."""
        return tuple(
            tuple(like.new_zeros(rows.replicas, rows.batch, size) for size in cell.state_sizes)
            for cell in self.cells
        )

    def recur(
        self,
        weights: Mapping[str, Tensor],
        x: Tensor,
        *,
        rows: Rows,
        initial_state: tuple[State, ...] | None = None,
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Run the recurrent block.

        Args:
            weights: of the network.
            x: packed inputs, ``(replica, row, feature)``, multi-hot ones as bytes; or symbols for
                one-hot inputs, or words for their embeddings, ``(replica, row)``.
            rows: the packing of the batch.
            initial_state: one tuple of ``(replica, batch, hidden)`` per cell; zeros if None.

        Returns:
            The last cell's states, ``(replica, row, hidden)``, and the final state of every cell.
        """
        initial_state = initial_state or self.initial_state(rows, next(iter(weights.values())))
        if self.vocabulary is not None:
            x = embed(weights[EMBEDDING], x)
        finals = []
        for number, (cell, state) in enumerate(
            zip(self.cells, initial_state, strict=True), start=1
        ):
            own = {name: weights[f"cell_{number}.{name}"] for name in cell.shapes}
            x, final = recur(cell, own, x=x, initial_state=state, rows=rows)
            finals.append(final)
        return x, tuple(finals)

    def step(
        self, weights: Mapping[str, Tensor], x: Tensor, state: tuple[State, ...]
    ) -> tuple[State, ...]:
        """One step of the recurrent block, for inputs that depend on the step before.

        Args:
            weights: of the network.
            x: ``(replica, batch, feature)``, or words, ``(replica, batch)``.
            state: one tuple of ``(replica, batch, hidden)`` per cell.

        Returns:
            The next state, shaped alike.
        """
        if self.vocabulary is not None:
            x = embed(weights[EMBEDDING], x)
        stepped = []
        for number, (cell, before) in enumerate(zip(self.cells, state, strict=True), start=1):
            own = {name: weights[f"cell_{number}.{name}"] for name in cell.shapes}
            after = cell.step(own, cell.project(own, x), before)
            stepped.append(after)
            x = after[0]
        return tuple(stepped)

    def read(self, weights: Mapping[str, Tensor], states: Tensor) -> Tensor:
        """Apply the readout to states of the last cell.

        Args:
            weights: of the network.
            states: ``(replica, row or batch, hidden)``.

        Returns:
            Linear outputs, ``(replica, row or batch, output)``.
        """
        weight, bias = self.last_layer(weights)
        return affine(bias, self.read_but_last(weights, states), weight)

    def read_but_last(self, weights: Mapping[str, Tensor], states: Tensor) -> Tensor:
        """What the last layer of the readout reads, ``(replica, row or batch, feature)``."""
        for number in range(1, len(self.readout)):
            weight, bias = weights[f"readout_{number}.weight"], weights[f"readout_{number}.bias"]
            states = torch.relu(affine(bias, states, weight))
        return states

    def last_layer(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Weight and bias of the last layer of the readout, for a loss that applies it itself."""
        last = len(self.readout)
        return weights[f"readout_{last}.weight"], weights[f"readout_{last}.bias"]

    def forward(
        self,
        weights: Mapping[str, Tensor],
        x: Tensor,
        *,
        rows: Rows,
        initial_state: tuple[State, ...] | None = None,
    ) -> tuple[Tensor, tuple[State, ...]]:
        """An output for each step: ``recur``, then ``read`` of all its states.

        Args:
            weights: of the network.
            x: packed inputs, ``(replica, row, feature)``, multi-hot ones as bytes.
            rows: the packing of the batch.
            initial_state: one tuple of ``(replica, batch, hidden)`` per cell; zeros if None.

        Returns:
            Linear outputs, ``(replica, row, output)``, and the final state of every cell.
        """
        states, final = self.recur(weights, x, rows=rows, initial_state=initial_state)
        return self.read(weights, states), final


def build_network(
    settings: NetworkSettings,
    *,
    input_size: int,
    readout: tuple[int, ...],
    vocabulary: int | None = None,
) -> Network:
    """A network for a task that dictates its inputs and readout.

    Args:
        settings: of the recurrent block.
        input_size: width of the inputs, or of the embedding.
        readout: width of each dense layer.
        vocabulary: words that have an embedding; None: there is none.

    Raises:
        ConfigError: if there is no such model, or none of its kind with such widths.
    """
    return Network(recurrent_block(input_size, settings), readout, vocabulary)
