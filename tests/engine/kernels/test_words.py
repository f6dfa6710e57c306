"""Embedding and softmax over a vocabulary against their plain composition."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dmu_search.engine.kernels import words
from dmu_search.engine.kernels.backend import BACKEND_VARIABLE
from dmu_search.engine.kernels.words import embed, likeliest_words, softmax_nll, word_nll

REPLICAS, ROWS, INPUTS, VOCABULARY = 2, 7, 3, 11

every_backend = pytest.mark.parametrize("backend", ["native", "reference"])


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Choose a backend, and how many rows make a chunk."""

    def choose(backend: str, rows: int) -> None:
        monkeypatch.setenv(BACKEND_VARIABLE, backend)
        monkeypatch.setattr(words, "CPU_LOGITS", rows * VOCABULARY)

    return choose


def readout(dtype: torch.dtype = torch.float64, rows: int = ROWS) -> tuple[Tensor, ...]:
    """States, weight, bias, targets and shares, the last row of replica 1 being padding."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(REPLICAS, rows, INPUTS, dtype=dtype, generator=generator)
    weight = torch.randn(REPLICAS, INPUTS, VOCABULARY, dtype=dtype, generator=generator)
    bias = torch.randn(REPLICAS, 1, VOCABULARY, dtype=dtype, generator=generator)
    targets = torch.randint(VOCABULARY, (REPLICAS, rows), generator=generator)
    shares = torch.rand(REPLICAS, rows, dtype=dtype, generator=generator)
    shares[1, -1] = 0.0
    for leaf in (states, weight, bias):
        leaf.requires_grad_()
    return states, weight, bias, targets, shares


def plain_nll(states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    logits = torch.baddbmm(bias, states, weight)
    return functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")


@every_backend
@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_softmax_is_the_plain_composition(
    use: Callable[[str, int], None], backend: str, chunk: int, dtype: torch.dtype
) -> None:
    use(backend, chunk)
    *parameters, targets, shares = readout(dtype)
    upstream = torch.tensor([0.5, -2.0], dtype=dtype)
    total, nll = softmax_nll(*parameters, targets=targets, shares=shares)
    gradients = torch.autograd.grad(total, parameters, upstream)
    expected = plain_nll(*parameters, targets)
    plain = torch.autograd.grad((expected * shares).sum(dim=1), parameters, upstream)
    assert not nll.requires_grad
    # Sums of a few numbers near 1 in another order: some of the last digits of the precision.
    tolerance = {"rtol": 0.0, "atol": 1e-13 if dtype == torch.float64 else 1e-5}
    torch.testing.assert_close(nll, expected, **tolerance)
    torch.testing.assert_close(total, (expected * shares).sum(dim=1), **tolerance)
    for own, other in zip(gradients, plain, strict=True):
        torch.testing.assert_close(own, other, **tolerance)
    torch.testing.assert_close(word_nll(*parameters, targets=targets), nll, **tolerance)


@every_backend
def test_gradcheck(use: Callable[[str, int], None], backend: str) -> None:
    use(backend, 3)
    *parameters, targets, shares = readout()
    table = torch.randn(REPLICAS, 5, INPUTS, dtype=torch.float64, requires_grad=True)
    chosen = torch.tensor([[0, 3, 3, 1, 0, 4, 3], [2, 2, 2, 2, 2, 2, 0]])

    def total(states: Tensor, weight: Tensor, bias: Tensor, table: Tensor) -> Tensor:
        read = torch.tanh(states + embed(table, chosen))
        return softmax_nll(read, weight, bias, targets=targets, shares=shares)[0]

    assert torch.autograd.gradcheck(total, (*parameters, table))


def test_the_likeliest_word_is_the_first_of_equals() -> None:
    states, weight, bias, targets, _ = readout()
    best = likeliest_words(states, weight, bias)
    assert torch.equal(best, torch.baddbmm(bias, states, weight).argmax(dim=2))
    ties = torch.zeros_like(weight), torch.zeros_like(bias)
    assert likeliest_words(states, *ties).eq(0).all()
    nll = word_nll(states, *ties, targets=targets)
    assert nll.allclose(torch.tensor(math.log(VOCABULARY), dtype=nll.dtype))


def test_a_likelihood_too_small_for_a_number_has_a_logarithm() -> None:
    states = torch.ones(1, 1, 1)
    weight = torch.tensor([[[0.0, 1000.0, -1e30]]])
    nll = word_nll(
        states.expand(1, 3, 1), weight, torch.zeros(1, 1, 3), targets=torch.tensor([[0, 1, 2]])
    )
    assert nll.tolist() == [[1000.0, 0.0, pytest.approx(1e30)]]


def test_nan_stays_in_its_replica() -> None:
    *parameters, targets, shares = readout()
    healthy, _ = softmax_nll(*parameters, targets=targets, shares=shares)
    expected = torch.autograd.grad(healthy.sum(), parameters)
    with torch.no_grad():
        parameters[1][1, 0, 0] = math.nan
    hurt, _ = softmax_nll(*parameters, targets=targets, shares=shares)
    assert hurt[0] == healthy[0]
    assert hurt[1].isnan()
    for own, other in zip(torch.autograd.grad(hurt.sum(), parameters), expected, strict=True):
        assert torch.equal(own[0], other[0])
    assert likeliest_words(*parameters).max() < VOCABULARY


@pytest.mark.parametrize("accumulates", [False, True])
def test_embedding_and_its_gradient(accumulates: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(REPLICAS, 5, INPUTS, generator=generator, requires_grad=True)
    chosen = torch.tensor([[0, 3, 3], [2, 2, 2]])
    upstream = torch.randn(REPLICAS, 3, INPUTS, generator=generator)
    one_hot = functional.one_hot(chosen, 5).float()
    rows = embed(table, chosen)
    assert torch.equal(rows, torch.bmm(one_hot, table))
    buffer = torch.ones_like(table) if accumulates else None
    table.grad = buffer
    rows.backward(upstream)
    expected = torch.bmm(one_hot.mT, upstream) + (1.0 if accumulates else 0.0)
    # Float32 sums of three numbers in another order.
    torch.testing.assert_close(table.grad, expected, rtol=1e-6, atol=1e-6)
    assert table.grad is buffer or not accumulates
    assert table.grad.layout == torch.strided
