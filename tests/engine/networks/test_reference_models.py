"""Every model against an independent implementation: torch.nn, or the paper's equations."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dmu_search.engine.kernels.rows import PackedRows
from dmu_search.engine.networks.network import Network, Weights, build_network
from dmu_search.engine.settings import NetworkSettings
from tests.engine.networks.equations import dmu_scan, rhn_scan

CPU = torch.device("cpu")
LENGTHS = np.array([[4, 6, 1, 6], [2, 3, 5, 1]])
# Both sides are float64 and differ in the order of sums only: some 1e-16 per operation.
EXACT = {"rtol": 0.0, "atol": 1e-12}


def padded(rows: PackedRows, packed: Tensor) -> Tensor:
    """``(replica, batch, time, feature)``, zeros where a sequence has ended."""
    replicas, batch = rows.lengths.shape
    whole = packed.new_zeros(replicas, batch, rows.lengths.max(), packed.shape[-1])
    replica = torch.arange(replicas).unsqueeze(1).expand_as(rows.valid)
    where = (replica[rows.valid], rows.sequence[rows.valid], rows.time[rows.valid])
    return whole.index_put(where, packed[rows.valid])


def prepare(settings: NetworkSettings) -> tuple[Network, Weights, PackedRows, Tensor]:
    network = build_network(settings, input_size=3, readout=())
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    weights = {
        # Zero biases would hide a bias that is left out.
        name: (weight + 0.1).requires_grad_()
        for name, weight in network.initialise(generators, torch.float64).items()
    }
    rows = PackedRows(LENGTHS, CPU)
    x = torch.randn(*rows.valid.shape, 3, dtype=torch.float64, requires_grad=True)
    return network, weights, rows, x


def torch_layer(model: str, weights: Weights, number: int, replica: int) -> torch.nn.RNNBase:
    """A layer of torch.nn that shares our weights, with gradients flowing into them."""
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
    own = {
        name.removeprefix(f"cell_{number}."): weight[replica]
        for name, weight in weights.items()
        if name.startswith(f"cell_{number}.")
    }
    inputs, width = len(own["input.weight"]), len(own["state.weight"])
    layer = kinds[model](inputs, width, batch_first=True).double()
    names = {"input": "ih_l0", "state": "hh_l0"}
    for name, tensor in own.items():
        side, kind = name.split(".")
        if model == "lstm":  # ours i, f, o, g; torch's i, f, g, o
            i, f, o, g = tensor.chunk(4, dim=1)
            tensor = torch.cat([i, f, g, o], dim=1)
        tensor = tensor.T if kind == "weight" else tensor[0]
        delattr(layer, f"{kind}_{names[side]}")
        setattr(layer, f"{kind}_{names[side]}", tensor.contiguous())
    layer._flat_weights = [getattr(layer, name) for name in layer._flat_weights_names]
    return layer


def run_torch(
    model: str, weights: Weights, x: Tensor, lengths: np.ndarray, replica: int
) -> tuple[Tensor, list[Tensor]]:
    """Outputs ``(batch, time, hidden)`` and final components of every layer."""
    finals: list[Tensor] = []
    depth = max(int(name[len("cell_")]) for name in weights)
    packed = pack_padded_sequence(
        x, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
    )
    for number in range(1, depth + 1):
        packed, final = torch_layer(model, weights, number, replica)(packed)
        finals.extend(part[0] for part in (final if model == "lstm" else (final,)))
    return pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])[0], finals


@pytest.mark.parametrize("widths", [(4,), (4, 3), (2, 5, 3)], ids=str)
@pytest.mark.parametrize("model", ["lstm", "gru", "rnn"])
def test_stacks_agree_with_torch_nn(model: str, widths: tuple[int, ...]) -> None:
    network, weights, rows, x = prepare(NetworkSettings(model, widths))
    states, final = network.recur(weights, x, rows=rows)
    flat_final = [part for state in final for part in state]
    ours = padded(rows, states)
    theirs, their_final = [], []
    for replica in range(2):
        outputs, finals = run_torch(
            model, weights, padded(rows, x)[replica], LENGTHS[replica], replica
        )
        theirs.append(outputs)
        their_final.append(finals)
    their_flat_final = [torch.stack(parts) for parts in zip(*their_final, strict=True)]

    assert torch.allclose(ours, torch.stack(theirs), **EXACT)
    for part, their_part in zip(flat_final, their_flat_final, strict=True):
        assert torch.allclose(part, their_part, **EXACT)
    leaves = (x, *weights.values())
    compare_gradients([ours, *flat_final], [torch.stack(theirs), *their_flat_final], leaves)


@pytest.mark.parametrize(
    ("model", "widths"),
    [("dmu", (4,)), ("dmu", (5, 4)), ("dmu", (3, 5, 2)), ("rhn", (4,)), ("rhn", (3, 3, 3))],
    ids=str,
)
def test_dmu_and_rhn_agree_with_their_equations(model: str, widths: tuple[int, ...]) -> None:
    network, weights, rows, x = prepare(NetworkSettings(model, widths))
    start = torch.rand(2, 4, widths[-1], dtype=torch.float64) - 0.5
    states, ((final,),) = network.recur(weights, x, rows=rows, initial_state=((start,),))
    ours, whole_x = padded(rows, states), padded(rows, x)
    theirs, their_final = torch.zeros_like(ours), torch.zeros_like(start)
    run = {"dmu": dmu_scan, "rhn": rhn_scan}[model]
    for replica, sequence in np.ndindex(*LENGTHS.shape):
        own = {name.removeprefix("cell_1."): weight[replica] for name, weight in weights.items()}
        length = LENGTHS[replica, sequence]
        one = run(own, whole_x[replica, sequence, :length], start[replica, sequence])
        theirs[replica, sequence, :length] = one
        their_final[replica, sequence] = one[-1]

    assert torch.allclose(ours, theirs, **EXACT)
    assert torch.allclose(final, their_final, **EXACT)
    compare_gradients([ours, final], [theirs, their_final], (x, *weights.values()))


def compare_gradients(ours: list[Tensor], theirs: list[Tensor], leaves: tuple[Tensor, ...]) -> None:
    """Gradients of a random linear function of all outputs."""
    directions = [torch.randn_like(part) for part in ours]
    our_gradients = torch.autograd.grad(ours, leaves, directions)
    their_gradients = torch.autograd.grad(theirs, leaves, directions)
    for our_gradient, their_gradient in zip(our_gradients, their_gradients, strict=True):
        assert torch.allclose(our_gradient, their_gradient, **EXACT)
