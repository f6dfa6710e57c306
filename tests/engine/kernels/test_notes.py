"""Multi-hot inputs and the cross-entropy of notes: natively and by PyTorch, against plain sums."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dmu_search.engine.kernels.backend import BACKEND_VARIABLE
from dmu_search.engine.kernels.native.build import native_problem
from dmu_search.engine.kernels.notes import note_nll, project_notes

pytestmark = pytest.mark.skipif(
    native_problem(torch.device("cpu"), torch.float64) is not None, reason="no C++ compiler here"
)
EPSILON = {torch.float32: 1.2e-7, torch.float64: 2.3e-16}


def drawn(
    replicas: int, rows: int, notes: int, out: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Notes, of which one in eight sounds, a matrix and a bias."""
    generator = torch.Generator().manual_seed(rows)
    sounding = torch.rand(replicas, rows, notes, generator=generator) < 0.125
    matrix = torch.randn(replicas, notes, out, generator=generator, dtype=torch.float64)
    bias = torch.randn(replicas, 1, out, generator=generator, dtype=torch.float64)
    return sounding.byte(), matrix.to(dtype), bias.to(dtype)


@pytest.fixture(params=["native", "reference"])
def _backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, request.param)


# Replicas, rows, notes and outputs: below, at and above the width of a vector and of a chunk.
SIZES = [
    (1, 1, 1, 1),
    (2, 7, 15, 16),
    (3, 9, 64, 40),
    (2, 5, 65, 3),
    (1, 8, 88, 200),
    (2, 3, 150, 17),
]


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("size", SIZES)
def test_projecting_notes_is_the_product_with_zeros_and_ones(
    size: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    notes, matrix, bias = drawn(*size, dtype=dtype)
    projected = project_notes(bias, notes, matrix)
    expected = torch.baddbmm(bias.double(), notes.double(), matrix.double())
    torch.testing.assert_close(projected.double(), expected, rtol=0, atol=300 * EPSILON[dtype])


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("scale", [0.1, 3.0, 200.0])
@pytest.mark.parametrize("size", SIZES)
def test_the_cross_entropy_of_notes_is_that_of_each_summed(
    size: tuple[int, int, int, int], scale: float, dtype: torch.dtype
) -> None:
    notes, *_ = drawn(*size)
    logits = scale * torch.randn(notes.shape, generator=torch.Generator().manual_seed(1))
    logits = logits.to(dtype).requires_grad_()
    nll = note_nll(logits, notes)
    (slopes,) = torch.autograd.grad(nll.sum(), logits)
    exact = logits.detach().double()
    shares = torch.logaddexp(exact, torch.zeros_like(exact)) - exact * notes
    tolerance = 20 * EPSILON[dtype]
    assert nll.dtype == dtype
    torch.testing.assert_close(
        nll.double(), shares.sum(dim=2), rtol=tolerance, atol=tolerance * size[2]
    )
    torch.testing.assert_close(
        slopes.double(), exact.sigmoid() - notes, rtol=0, atol=4 * EPSILON[dtype]
    )


@pytest.mark.usefixtures("_backend")
# More pitches than a vector holds bits, or more outputs; both at once would only take longer.
@pytest.mark.parametrize(("pitches", "out"), [(70, 3), (70, 16), (9, 88)])
def test_gradients_are_those_of_the_function(pitches: int, out: int) -> None:
    notes, matrix, bias = drawn(2, 5, pitches, out)
    assert torch.autograd.gradcheck(
        lambda b, m: project_notes(b, notes, m), (bias.requires_grad_(), matrix.requires_grad_())
    )
    targets, *_ = drawn(2, 5, out, 1)
    logits = torch.randn(targets.shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: note_nll(x, targets), (logits,))


@pytest.mark.usefixtures("_backend")
def test_what_is_not_a_number_stays_in_its_row() -> None:
    notes, *_ = drawn(1, 3, 88, 1)
    logits = torch.zeros(1, 3, 88)
    logits[0, 1, 87] = float("nan")
    assert note_nll(logits, notes).isnan().tolist() == [[False, True, False]]


@pytest.mark.usefixtures("_backend")
def test_no_memory_layout_changes_a_result() -> None:
    notes, matrix, bias = drawn(2, 12, 88, 88)
    turned = [each.mT.contiguous().mT for each in (notes, matrix)]
    logits = project_notes(bias, notes, matrix)
    torch.testing.assert_close(project_notes(bias, turned[0], turned[1]), logits)
    torch.testing.assert_close(
        note_nll(logits.mT.contiguous().mT, turned[0]), note_nll(logits, notes)
    )


def test_tensors_that_do_not_fit_are_refused() -> None:
    notes, matrix, bias = drawn(2, 5, 88, 16)
    for wrong in (matrix[:, :87], matrix[:1], matrix.float()):
        with pytest.raises(ValueError, match="add_rows"):
            project_notes(bias, notes, wrong)
    with pytest.raises(ValueError, match="note_nll"):
        note_nll(torch.zeros(2, 5, 87), notes)
    with pytest.raises(ValueError, match="bytes needs tensors"):
        note_nll(torch.zeros(2, 5, 88), notes.float())


def test_no_number_of_threads_changes_a_result() -> None:
    notes, matrix, bias = drawn(1, 20_000, 88, 200, torch.float32)
    targets, *_ = drawn(1, 20_000, 200, 1)
    weights = bias.requires_grad_(), matrix.requires_grad_()

    def result() -> list[Tensor]:
        nll = note_nll(project_notes(bias, notes, matrix), targets)
        return [nll, *torch.autograd.grad(nll.sum(), weights)]

    alone, together = (with_threads(count, result) for count in (1, 3))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def with_threads(count: int, result: Callable[[], list[Tensor]]) -> list[Tensor]:
    """What a function gives while PyTorch may use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return result()
    finally:
        torch.set_num_threads(before)
