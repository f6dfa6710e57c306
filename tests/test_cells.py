"""The recurrent networks as modules: called as torch.nn.GRU, and equal to torch where it can be."""

import copy

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dmu_search import cells
from dmu_search.errors import ConfigError

MODELS = (cells.DMU, cells.RHN, cells.LSTM, cells.GRU, cells.RNN)
GATED = {cells.LSTM: torch.nn.LSTM, cells.GRU: torch.nn.GRU, cells.RNN: torch.nn.RNN}
LENGTHS = torch.tensor([3, 7, 5, 7])
# Two loops add the same products in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def states_of(module, batch=4):
    torch.manual_seed(1)
    _, zeros = module(torch.zeros(1, batch, 6))
    some = [torch.randn_like(each) for each in ((zeros,) if torch.is_tensor(zeros) else zeros)]
    return some[0] if len(some) == 1 else tuple(some)


def inputs(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def as_torch(module):
    """Torch's own module with the same weights; its LSTM has the columns i, f, g, o."""
    own = GATED[type(module)](6, 5, num_layers=len(module.cells))
    with torch.no_grad():
        for name, weight in module.named_parameters():
            side, kind, layer = name.split("_")
            if type(module) is cells.LSTM:
                i, f, o, g = weight.chunk(4, dim=1)
                weight = torch.cat([i, f, g, o], dim=1)
            theirs = f"{kind}_{'ih' if side == 'input' else 'hh'}_{layer}"
            getattr(own, theirs).copy_(weight.T if kind == "weight" else weight[0])
    return own


@pytest.mark.parametrize("kind", GATED)
def test_gated_networks_are_those_of_torch(kind):
    module = kind(6, 5, depth=2)
    theirs = as_torch(module)
    x, state = inputs(7, 4, 6), states_of(module)
    torch.testing.assert_close(module(x, state), theirs(x, state), **CLOSE)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    torch.testing.assert_close(module(packed, state), theirs(packed, state), **CLOSE)


@pytest.mark.parametrize("kind", MODELS)
def test_every_form_of_input_gives_the_same(kind):
    module = kind(6, 5, depth=2)
    x, state = inputs(7, 4, 6), states_of(module)
    output, end = module(x, state)
    batched = copy.deepcopy(module)
    batched.batch_first = True
    first, same_end = batched(x.transpose(0, 1), state)
    torch.testing.assert_close((first.transpose(0, 1), same_end), (output, end))
    # One sequence alone, and one whose own last step comes earlier.
    pair = isinstance(state, tuple)
    own = tuple(each[:, 2] for each in state) if pair else state[:, 2]
    alone, alone_end = module(x[:5, 2], own)
    torch.testing.assert_close(alone, output[:5, 2], **CLOSE)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    short, ends = module(packed, state)
    padded, lengths = pad_packed_sequence(short)
    assert lengths.tolist() == LENGTHS.tolist()
    torch.testing.assert_close(padded[:5, 2], output[:5, 2], **CLOSE)
    last = tuple(each[:, 2] for each in ends) if pair else ends[:, 2]
    torch.testing.assert_close(last, alone_end, **CLOSE)


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_reach_inputs_states_and_weights(kind):
    module = kind(6, 5, depth=2).double()
    x = inputs(3, 2, 6).double().requires_grad_()

    def last(x, *weights):
        own = dict(zip((name for name, _ in module.named_parameters()), weights, strict=True))
        output, _ = torch.func.functional_call(module, own, (x,))
        return output[-1]

    assert torch.autograd.gradcheck(last, (x, *module.parameters()))


def test_a_module_is_drawn_by_torchs_seed_and_copied_whole():
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(cells.DMU(6, 5, depth=3, z_bias=2.0, widths=[4, 4, 5]))
    x = inputs(4, 2, 6)
    torch.testing.assert_close(drawn[0](x), drawn[1](x))
    other = cells.DMU(6, 5, depth=3, widths=[4, 4, 5])
    other.load_state_dict(drawn[0].state_dict())
    torch.testing.assert_close(drawn[0](x), other(x))
    assert "6, 5, weights=" in repr(other)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: cells.GRU(6, 5)(torch.zeros(6)), r"x: must have 2 or 3 axes, got \(6,\)"),
        (lambda: cells.GRU(6, 5)(torch.zeros(3, 2, 7)), "must have 6 features .* got 7"),
        (lambda: cells.GRU(6, 5)(torch.zeros(3, 2, 6).double()), "got 6 of torch.float64"),
        (
            lambda: cells.GRU(6, 5)(torch.zeros(3, 2, 6), torch.zeros(1, 3, 5)),
            r"hx: must be of shape \(1, 2, 5\), got \(1, 3, 5\)",
        ),
        (lambda: cells.DMU(6, 5, widths=[4]), r"widths: must be 1 .* got \[4\]"),
        (lambda: cells.DMU(6, 0), "must be one positive width per layer"),
    ],
)
def test_what_does_not_fit_is_said(call, says):
    with pytest.raises(ConfigError, match=says):
        call()
