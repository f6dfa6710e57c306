"""What every model must do, at every depth, on its own and side by side with other replicas."""

import numpy as np
import pytest
import torch

from dmu_search.engine.kernels.rows import PackedRows
from dmu_search.engine.networks.cells import State
from dmu_search.engine.networks.network import Network, Weights, build_network
from dmu_search.engine.settings import NetworkSettings
from dmu_search.names import MODELS

CPU = torch.device("cpu")
INPUTS, OUTPUTS, WIDTH = 3, 2, 4
LENGTHS = np.array([[2, 5, 4], [3, 3, 2]])

every_network = pytest.mark.parametrize(
    "settings",
    [
        NetworkSettings(model, (WIDTH,) * depth, z_bias=1.0)
        for model in MODELS
        for depth in (1, 2, 3)
    ],
    ids=lambda settings: f"{settings.model}-{settings.depth}",
)


def network_of(settings: NetworkSettings) -> Network:
    return build_network(settings, input_size=INPUTS, readout=(5, OUTPUTS))


def weights_of(network: Network, replicas: int = 2, seed: int = 0) -> Weights:
    generators = [torch.Generator().manual_seed(seed + i) for i in range(replicas)]
    weights = network.initialise(generators, torch.float64)
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def inputs(lengths: np.ndarray = LENGTHS) -> tuple[PackedRows, torch.Tensor]:
    rows = PackedRows(lengths, CPU)
    shape = (*rows.valid.shape, INPUTS)
    return rows, torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


def random_state(network: Network, rows: PackedRows) -> tuple[State, ...]:
    """Tame states that are not zero, as the gradients of recurrent weights need."""
    generator = torch.Generator().manual_seed(5)
    zeros = network.initial_state(rows, torch.zeros(1, dtype=torch.float64))
    return tuple(
        tuple(part.uniform_(-0.9, 0.9, generator=generator) for part in state) for state in zeros
    )


@every_network
def test_shapes(settings: NetworkSettings) -> None:
    network, (rows, x) = network_of(settings), inputs()
    outputs, final = network.forward(weights_of(network), x, rows=rows)
    assert outputs.shape == (2, 11, OUTPUTS)
    assert len(final) == len(network.cells)
    for cell, state in zip(network.cells, final, strict=True):
        assert [part.shape for part in state] == [(2, 3, size) for size in cell.state_sizes]


@every_network
def test_weights_have_the_declared_shapes_and_count(settings: NetworkSettings) -> None:
    network = network_of(settings)
    weights = weights_of(network)
    assert {name: weight.shape[1:] for name, weight in weights.items()} == network.shapes
    assert sum(weight.numel() for weight in weights.values()) == 2 * network.weight_count
    recurrent = sum(weights[name].numel() for name in network.recurrent_weights)
    assert recurrent == 2 * network.recurrent_weight_count


@every_network
def test_symbols_are_one_hot_inputs(settings: NetworkSettings) -> None:
    network, (rows, x) = network_of(settings), inputs()
    symbols = torch.randint(INPUTS, x.shape[:2], generator=torch.Generator().manual_seed(3))
    gradients = []
    for features in (symbols, torch.eye(INPUTS, dtype=torch.float64)[symbols]):
        weights = weights_of(network)
        states, _ = network.recur(weights, features, rows=rows)
        states[rows.valid].square().sum().backward()
        own = {name: weights[name].grad for name in network.recurrent_weights}
        gradients.append({"states": states.detach()[rows.valid]} | own)
    looked_up, multiplied = gradients
    for name, values in looked_up.items():
        # Float64 sums in another order.
        torch.testing.assert_close(values, multiplied[name], rtol=1e-10, atol=1e-14)


@every_network
def test_every_weight_gets_a_finite_gradient(settings: NetworkSettings) -> None:
    network, (rows, x) = network_of(settings), inputs()
    weights = weights_of(network)
    outputs, _ = network.forward(weights, x, rows=rows, initial_state=random_state(network, rows))
    outputs[rows.valid].square().sum().backward()
    for name, weight in weights.items():
        assert weight.grad is not None
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().flatten(1).sum(dim=1).min() > 0, name


@every_network
def test_same_seed_same_numbers(settings: NetworkSettings) -> None:
    """Another seed gives others, and replica i of a seed is the first one of that seed plus i."""
    network, (rows, x) = network_of(settings), inputs()
    first, again, others = (weights_of(network, seed=seed) for seed in (0, 0, 1))
    for name, weight in first.items():
        assert torch.equal(weight, again[name]), name
        assert torch.equal(weight[1], others[name][0]), name
        if weight.shape[1] > 1:  # a bias may begin as a constant
            assert (weight[0] != others[name][0]).all(), name
    outputs, same, different = (
        network.forward(weights, x, rows=rows)[0] for weights in (first, again, others)
    )
    assert torch.equal(outputs, same)
    assert (outputs != different)[rows.valid].all()


@every_network
def test_sequences_of_a_batch_and_replicas_are_independent(settings: NetworkSettings) -> None:
    """Gradients of one sequence's final state reach that sequence's inputs and weights only."""
    network, (rows, x) = network_of(settings), inputs()
    weights = weights_of(network)
    x.requires_grad_()
    _, final = network.recur(weights, x, rows=rows)
    final[-1][0][1, 2].sum().backward()
    own = torch.zeros(2, 11, dtype=torch.bool)
    own[1] = (rows.sequence[1] == 2) & rows.valid[1]
    assert x.grad is not None
    assert x.grad[own].abs().min() > 0
    assert x.grad[~own].abs().max() == 0
    for name in network.recurrent_weights:
        gradient = weights[name].grad
        assert gradient is not None
        assert gradient[0].abs().max() == 0


@every_network
def test_a_replica_is_what_it_would_be_alone(settings: NetworkSettings) -> None:
    network, (rows, x) = network_of(settings), inputs()
    weights = weights_of(network)
    together, final = network.forward(weights, x, rows=rows)
    for replica in range(2):
        count = rows.row_counts[replica]
        alone_rows = PackedRows(LENGTHS[replica : replica + 1], CPU)
        alone, alone_final = network.forward(
            weights_of(network, replicas=1, seed=replica),
            x[replica : replica + 1, :count],
            rows=alone_rows,
        )
        # Float64 products of other shapes round differently, in the last digits only.
        assert torch.allclose(together[replica, :count], alone[0], rtol=0, atol=1e-13)
        for state, alone_state in zip(final, alone_final, strict=True):
            for part, alone_part in zip(state, alone_state, strict=True):
                assert torch.allclose(part[replica], alone_part[0], rtol=0, atol=1e-13)


@every_network
def test_a_sequence_cut_in_two_goes_on_from_its_final_state(settings: NetworkSettings) -> None:
    network = network_of(settings)
    weights = weights_of(network, replicas=1)
    rows, x = inputs(np.array([[6, 6]]))
    whole, final = network.recur(weights, x, rows=rows)
    half = PackedRows(np.array([[3, 3]]), CPU)
    _, middle = network.recur(weights, x[:, :6], rows=half)
    second, end = network.recur(weights, x[:, 6:], rows=half, initial_state=middle)
    # The projections of halves may round differently from that of the whole.
    assert torch.allclose(whole[:, 6:], second, rtol=0, atol=1e-13)
    assert torch.allclose(final[-1][0], end[-1][0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("model", MODELS)
def test_gradcheck(model: str) -> None:
    network = build_network(NetworkSettings(model, (2, 2)), input_size=2, readout=(1,))
    rows = PackedRows(np.array([[1, 3], [2, 1]]), CPU)
    weights = weights_of(network)
    state = tuple(tuple(p.requires_grad_() for p in s) for s in random_state(network, rows))
    x = torch.randn(*rows.valid.shape, 2, dtype=torch.float64, requires_grad=True)
    names = list(weights)
    parts = [part for cell_state in state for part in cell_state]
    sizes = [len(cell_state) for cell_state in state]

    def outputs(x: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        own, flat = rest[: len(names)], iter(rest[len(names) :])
        initial = tuple(tuple(next(flat) for _ in range(size)) for size in sizes)
        out, final = network.forward(
            dict(zip(names, own, strict=True)), x, rows=rows, initial_state=initial
        )
        return (out[rows.valid], *(part for cell_state in final for part in cell_state))

    assert torch.autograd.gradcheck(outputs, (x, *weights.values(), *parts))
