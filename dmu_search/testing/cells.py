"""What every recurrent cell must do, at every depth, alone and side by side with other replicas."""

from collections.abc import Iterator
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmu_search.engine.kernels.native.build import native_problem
from dmu_search.engine.kernels.native.recurrence import native_scan
from dmu_search.engine.kernels.rows import PackedRows
from dmu_search.engine.networks.cells import Cell, State
from dmu_search.engine.networks.network import Network, Weights, build_network
from dmu_search.engine.networks.scan import reference_scan
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks import Task
from dmu_search.engine.tasks.adding import Adding
from dmu_search.engine.tasks.generated import Rules
from dmu_search.testing.training import TrainingContract

CPU = torch.device("cpu")
INPUTS, OUTPUTS = 3, 2
# Two replicas of three sequences, of 11 and of 8 steps, with ties.
LENGTHS = np.array([[2, 5, 4], [3, 3, 2]])
# Float64 products of other shapes round differently, in the last digits only.
ROUNDING = 1e-13
# Finite, but the error of the outputs is not.
OVERFLOW = ("readout", 3e38)


class CellContract(TrainingContract):
    """A model of ``dmu_search.names.MODELS``: networks of it, and trainings on a tiny task.

    Attributes:
        model: its name.
        depths: numbers of layers to test.
        width: of each layer.
    """

    model: ClassVar[str]
    depths: ClassVar[tuple[int, ...]] = (1, 2, 3)
    width: ClassVar[int] = 4
    faults = (*TrainingContract.faults, OVERFLOW)

    @property
    def networks(self) -> tuple[NetworkSettings, ...]:  # type: ignore[override]
        """One of each depth."""
        return tuple(
            NetworkSettings(self.model, (self.width,) * depth, z_bias=1.0) for depth in self.depths
        )

    def make_task(self, dtype: torch.dtype = torch.float32) -> Task[Any, Any]:
        """Adding, with short sequences, few batches and small fixed sets."""
        rules = Rules(
            length=12, batches_per_epoch=2, train_sequences=6, valid_sequences=5, test_sequences=7
        )
        return Adding(rules, dtype=dtype)

    def built(self) -> Iterator[Network]:
        """A network of each depth, with two dense layers behind it."""
        for settings in self.networks:
            yield build_network(settings, input_size=INPUTS, readout=(5, OUTPUTS))

    def test_shapes(self) -> None:
        """Outputs have a row per step, final states one per sequence, weights what is declared."""
        rows, x = inputs()
        for network in self.built():
            outputs, final = network.forward(weights_of(network), x, rows=rows)
            assert outputs.shape == (2, 11, OUTPUTS), network
            for cell, state in zip(network.cells, final, strict=True):
                sizes = [tuple(part.shape) for part in state]
                assert sizes == [(2, 3, size) for size in cell.state_sizes], cell
                assert cell.state_sizes[0] == cell.hidden_size, cell

    def test_weights_have_the_declared_shapes_and_count(self) -> None:
        """Of a replica; all replicas have as many."""
        for network in self.built():
            weights = weights_of(network)
            shapes = {name: tuple(weight.shape[1:]) for name, weight in weights.items()}
            assert shapes == network.shapes, network
            count = sum(weight.numel() for weight in weights.values())
            assert count == 2 * network.weight_count, network
            recurrent = sum(weights[name].numel() for name in network.recurrent_weights)
            assert recurrent == 2 * network.recurrent_weight_count, network

    def test_symbols_are_one_hot_inputs(self) -> None:
        """States and gradients are those of the vectors that nobody writes out."""
        rows, x = inputs()
        symbols = torch.randint(INPUTS, x.shape[:2], generator=torch.Generator().manual_seed(3))
        written_out = torch.eye(INPUTS, dtype=torch.float64)[symbols]
        self._check_equal_inputs(rows, symbols, written_out=written_out)

    def test_notes_are_multi_hot_inputs(self) -> None:
        """Bytes of 0 and 1 count as numbers."""
        rows, x = inputs()
        notes = (x > 0).to(torch.uint8)
        self._check_equal_inputs(rows, notes, written_out=notes.double())

    def _check_equal_inputs(self, rows: PackedRows, short: Tensor, *, written_out: Tensor) -> None:
        for network in self.built():
            gradients = []
            for features in (short, written_out):
                weights = weights_of(network)
                states, _ = network.recur(weights, features, rows=rows)
                states[rows.valid].square().sum().backward()  # type: ignore[no-untyped-call]
                own = {name: weights[name].grad for name in network.recurrent_weights}
                gradients.append({"states": states.detach()[rows.valid], **own})
            for name, values in gradients[0].items():
                # Float64 sums in another order.
                torch.testing.assert_close(values, gradients[1][name], rtol=1e-10, atol=1e-14)

    def test_every_weight_gets_a_finite_gradient(self) -> None:
        """In every replica, and none of them is zero as a whole."""
        rows, x = inputs()
        for network in self.built():
            weights = weights_of(network)
            state = random_state(network, rows)
            outputs, _ = network.forward(weights, x, rows=rows, initial_state=state)
            outputs[rows.valid].square().sum().backward()  # type: ignore[no-untyped-call]
            for name, weight in weights.items():
                assert weight.grad is not None, name
                assert weight.grad.isfinite().all(), name
                assert weight.grad.abs().flatten(1).sum(dim=1).min() > 0, name

    def test_gradcheck(self) -> None:
        """Gradients of outputs and final states by all there is, against differences."""
        settings = NetworkSettings(self.model, (2, 2))
        network = build_network(settings, input_size=2, readout=(1,))
        rows = PackedRows(np.array([[1, 3], [2, 1]]), CPU)
        weights = weights_of(network)
        state = [part for own in random_state(network, rows) for part in own]
        sizes = [len(cell.state_sizes) for cell in network.cells]
        x = torch.randn(*rows.valid.shape, 2, dtype=torch.float64, requires_grad=True)

        def outputs(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            own, flat = rest[: len(weights)], iter(rest[len(weights) :])
            initial = tuple(tuple(next(flat) for _ in range(size)) for size in sizes)
            out, final = network.forward(
                dict(zip(weights, own, strict=True)), x, rows=rows, initial_state=initial
            )
            return (out[rows.valid], *(part for parts in final for part in parts))

        leaves = (x, *weights.values(), *(part.requires_grad_() for part in state))
        assert torch.autograd.gradcheck(outputs, leaves)

    def test_same_seed_same_numbers(self) -> None:
        """Another seed gives others, and replica i of a seed is the first of that seed plus i."""
        rows, x = inputs()
        for network in self.built():
            first, again, others = (weights_of(network, seed=seed) for seed in (0, 0, 1))
            for name, weight in first.items():
                assert torch.equal(weight, again[name]), name
                assert torch.equal(weight[1], others[name][0]), name
                if weight.shape[1] > 1:  # a bias may begin as a constant
                    assert (weight[0] != others[name][0]).all(), name
            outputs, same, different = (
                network.forward(weights, x, rows=rows)[0] for weights in (first, again, others)
            )
            assert torch.equal(outputs, same), network
            assert (outputs != different)[rows.valid].all(), network

    def test_sequences_of_a_batch_and_replicas_are_independent(self) -> None:
        """Gradients of one sequence's final state reach that sequence's inputs and weights only."""
        for network in self.built():
            rows, x = inputs()
            weights = weights_of(network)
            x.requires_grad_()
            _, final = network.recur(weights, x, rows=rows)
            final[-1][0][1, 2].sum().backward()  # type: ignore[no-untyped-call]
            own = torch.zeros(2, 11, dtype=torch.bool)
            own[1] = (rows.sequence[1] == 2) & rows.valid[1]
            assert x.grad is not None
            assert x.grad[own].abs().min() > 0, network
            assert x.grad[~own].abs().max() == 0, network
            for name in network.recurrent_weights:
                gradient = weights[name].grad
                assert gradient is not None, name
                assert gradient[0].abs().max() == 0, name

    def test_a_replica_is_what_it_would_be_alone(self) -> None:
        """Outputs and final states, up to rounding."""
        rows, x = inputs()
        for network in self.built():
            together, final = network.forward(weights_of(network), x, rows=rows)
            for replica in range(2):
                count = int(rows.row_counts[replica])
                alone, alone_final = network.forward(
                    weights_of(network, replicas=1, seed=replica),
                    x[replica : replica + 1, :count],
                    rows=PackedRows(LENGTHS[replica : replica + 1], CPU),
                )
                assert_near(together[replica, :count], alone[0])
                for state, alone_state in zip(final, alone_final, strict=True):
                    for part, alone_part in zip(state, alone_state, strict=True):
                        assert_near(part[replica], alone_part[0])

    def test_a_sequence_cut_in_two_goes_on_from_its_final_state(self) -> None:
        """The state holds all that later steps depend on."""
        rows, x = inputs(np.array([[6, 6]]))
        half = PackedRows(np.array([[3, 3]]), CPU)
        for network in self.built():
            weights = weights_of(network, replicas=1)
            whole, final = network.recur(weights, x, rows=rows)
            _, middle = network.recur(weights, x[:, :6], rows=half)
            second, end = network.recur(weights, x[:, 6:], rows=half, initial_state=middle)
            assert_near(whole[:, 6:], second)
            assert_near(final[-1][0], end[-1][0])

    def test_the_native_loop_is_the_plain_one(self) -> None:
        """States and gradients of every cell with a program for it."""
        cells = [cell for network in self.built() for cell in network.cells if cell.program]
        problem = native_problem(CPU, torch.float64)
        if problem is not None or not cells:
            raise SkipTest(problem or f"{self.model} has no program for the native loop")
        for cell in cells:
            plain, native = scanned(cell, native=False), scanned(cell, native=True)
            for name, values in plain.items():
                # A gradient adds up rounding errors of all steps after it.
                difference = (native[name] - values).norm()
                assert difference <= ROUNDING * values.norm(), (cell, name)


def weights_of(network: Network, replicas: int = 2, *, seed: int = 0) -> Weights:
    """Leaves in float64, each replica from its own seed."""
    generators = [torch.Generator().manual_seed(seed + i) for i in range(replicas)]
    weights = network.initialise(generators, torch.float64)
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def inputs(lengths: NDArray[np.int64] = LENGTHS) -> tuple[PackedRows, Tensor]:
    """A packing of such sequences, and random features, ``(replica, row, feature)``."""
    rows = PackedRows(lengths, CPU)
    generator = torch.Generator().manual_seed(9)
    x = torch.randn((*rows.valid.shape, INPUTS), dtype=torch.float64, generator=generator)
    return rows, x


def random_state(network: Network, rows: PackedRows) -> tuple[State, ...]:
    """Tame states that are not zero, as the gradients of recurrent weights need."""
    generator = torch.Generator().manual_seed(5)
    zeros = network.initial_state(rows, torch.zeros(1, dtype=torch.float64))
    return tuple(
        tuple(part.uniform_(-0.9, 0.9, generator=generator) for part in state) for state in zeros
    )


def scanned(cell: Cell, *, native: bool) -> dict[str, Tensor]:
    """States of a cell over ``LENGTHS``, and gradients by weights and inputs."""
    network = Network((cell,), ())
    rows, state = PackedRows(LENGTHS, CPU), random_state(network, PackedRows(LENGTHS, CPU))[0]
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    drawn = [cell.initialise(generator, torch.float64) for generator in generators]
    weights = {name: torch.stack([own[name] for own in drawn]) for name in cell.shapes}
    shape = (*rows.valid.shape, cell.input_size)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    leaves = {**weights, "x": x}
    for leaf in leaves.values():
        leaf.requires_grad_()
    projected = cell.project(weights, x)
    if native:
        assert cell.program is not None
        states, final = native_scan(
            cell.program, weights, x_projected=projected, initial_state=state, rows=rows
        )
    else:
        states, final = reference_scan(
            cell, weights, x_projected=projected, initial_state=state, rows=rows
        )
    loss = states[rows.valid].square().sum() + sum(part.sum() for part in final)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"states": states[rows.valid], **dict(zip(leaves, gradients, strict=True))}


def assert_near(one: Tensor, other: Tensor) -> None:
    """Assert that two tensors in float64 differ by rounding only."""
    assert torch.allclose(one, other, rtol=0, atol=ROUNDING), (one - other).abs().max()
