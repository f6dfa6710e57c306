"""The C++ recurrence and products against the plain PyTorch ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import pytest
import torch
from torch import Tensor

from dmu_search.engine.kernels.native.build import load_library, native_problem
from dmu_search.engine.kernels.native.notes import native_project
from dmu_search.engine.kernels.native.products import (
    add_correlation,
    correlate,
    multiply,
    native_affine,
)
from dmu_search.engine.kernels.native.recurrence import (
    Loop,
    native_recur,
    native_scan,
    takes_inputs,
)
from dmu_search.engine.kernels.rows import PackedRows
from dmu_search.engine.networks.cells import Cell, State, recurrent_block
from dmu_search.engine.networks.scan import recur, reference_scan
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks.polymusic import PianoRolls, PolyMusic
from tests.engine.conftest import batches_of, random_rolls
from tests.tables import NATIVE

CPU = torch.device("cpu")
Scan = Callable[..., tuple[Tensor, State]]
pytestmark = pytest.mark.skipif(
    native_problem(CPU, torch.float64) is not None, reason="no C++ compiler here"
)
# Relative to the norm of the whole tensor. Both sides sum the same products in another order, and
# a gradient adds up rounding errors of all steps after it: some 10 units in the last place, which
# are 2e-16 and 1e-7. A wrong term anywhere shows at 1e-2.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 5e-6}


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@contextmanager
def nan_in_fresh_memory() -> Iterator[None]:
    """Whatever is read before it is written becomes visible."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


class Case:
    """A cell with random weights, inputs and states, all wanting gradients.

    Inputs are ``features``, ``constants`` (features that want no gradient) or ``symbols``.
    """

    def __init__(
        self, cell: Cell, lengths: np.ndarray, dtype: torch.dtype, inputs: str = "features"
    ) -> None:
        generator = torch.Generator().manual_seed(3)

        def draw(*shape: int, scale: float = 1.0) -> Tensor:
            drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
            return (drawn * scale).to(dtype).requires_grad_()

        self.cell, self.rows = cell, PackedRows(lengths, CPU)
        replicas, batch = lengths.shape
        self.weights = {
            name: draw(replicas, *shape, scale=shape[0] ** -0.5)
            for name, shape in cell.shapes.items()
        }
        self.x = draw(*self.rows.valid.shape, cell.input_size)
        if inputs == "symbols":
            self.x = self.x.argmax(dim=2)
        self.x.requires_grad_(inputs == "features")
        self.state: State = tuple(draw(replicas, batch, size) for size in cell.state_sizes)

    @property
    def leaves(self) -> dict[str, Tensor]:
        parts = {f"state_{number}": part for number, part in enumerate(self.state)}
        leaves = {**self.weights, "x": self.x, **parts}
        return {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}

    def run(self, scan: Scan, *, final_only: bool = False) -> dict[str, Tensor]:
        """Outputs, final states, and gradients of a random linear function of them."""
        x = self.x
        if scan is not native_recur:
            project = self.cell.project if x.is_floating_point() else self.cell.project_symbols
            x = project(self.weights, x)
        states, final = BY_ORDER[scan](self.cell, self.weights, x, self.state, self.rows)
        results = {"states": states[self.rows.valid]}
        results |= {f"final_{number}": part for number, part in enumerate(final)}
        generator = torch.Generator().manual_seed(4)
        loss = torch.zeros((), dtype=states.dtype)
        for name, result in results.items():
            weight = torch.randn(result.shape, generator=generator, dtype=torch.float64)
            if name == "final_0" or not final_only:
                loss = loss + (result * weight.to(states.dtype)).sum()
        gradients = torch.autograd.grad(loss, list(self.leaves.values()), allow_unused=True)
        named = zip(self.leaves, gradients, strict=True)
        return results | {f"d_{name}": grad for name, grad in named if grad is not None}


Weights = dict[str, Tensor]


def scan_of(
    cell: Cell, weights: Weights, x: Tensor, state: State, rows: PackedRows
) -> tuple[Tensor, State]:
    return native_scan(cell.program, weights, x_projected=x, initial_state=state, rows=rows)


def recur_of(
    cell: Cell, weights: Weights, x: Tensor, state: State, rows: PackedRows
) -> tuple[Tensor, State]:
    bias_and_matrix = cell.projection(weights)
    return native_recur(
        cell.program, weights, projection=bias_and_matrix, x=x, initial_state=state, rows=rows
    )


def reference_of(
    cell: Cell, weights: Weights, x: Tensor, state: State, rows: PackedRows
) -> tuple[Tensor, State]:
    return reference_scan(cell, weights, x_projected=x, initial_state=state, rows=rows)


BY_ORDER = {native_scan: scan_of, native_recur: recur_of, reference_scan: reference_of}


def random_lengths(replicas: int, batch: int, longest: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(1, longest + 1, (replicas, batch))


def assert_close(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        difference = (got[name].double() - value.double()).norm()
        assert difference <= tolerance * value.double().norm(), name


# One unit, tiny ones, just below and at the width of a vector (2 to 16 numbers), odd ones, several
# panels of a packed weight, and the paper's.
WIDTHS = [(1,), (5, 5), (2, 6, 3), (7,), (8,), (15,), (16,), (17, 9), (33, 40), (100,)]


def cells_of(model: str, widths: tuple[int, ...]) -> tuple[Cell, ...]:
    if model == "rhn":
        widths = (widths[0],) * len(widths)
    return recurrent_block(3, NetworkSettings(model, widths))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("model", NATIVE)
def test_agrees_with_the_reference(model: str, widths: tuple[int, ...], dtype: torch.dtype) -> None:
    for cell in cells_of(model, widths):
        for replicas, batch in ((3, 5), (2, 37)):
            case = Case(cell, random_lengths(replicas, batch), dtype)
            with nan_in_fresh_memory():
                got = case.run(native_scan)
            assert_close(got, case.run(reference_scan), TOLERANCE[dtype])


@pytest.mark.parametrize("widths", [(10,) * 10, (40,) * 10], ids=str)
@pytest.mark.parametrize("model", ["dmu", "rhn"])
def test_agrees_at_depth_10(model: str, widths: tuple[int, ...]) -> None:
    (cell,) = cells_of(model, widths)
    case = Case(cell, random_lengths(2, 5), torch.float64)
    assert_close(case.run(native_scan), case.run(reference_scan), TOLERANCE[torch.float64])


@pytest.mark.parametrize("widths", [(4,), (20,)], ids=["lanes", "rows"])
@pytest.mark.parametrize("model", NATIVE)
def test_a_loss_of_the_final_state_alone(model: str, widths: tuple[int, ...]) -> None:
    (cell,) = cells_of(model, widths)
    case = Case(cell, random_lengths(2, 6), torch.float64)
    got = case.run(native_scan, final_only=True)
    assert_close(got, case.run(reference_scan, final_only=True), TOLERANCE[torch.float64])


@pytest.mark.parametrize("batch", [1, 2, 31, 32, 33, 63, 64, 65, 200])
@pytest.mark.parametrize("widths", [(4,), (20,)], ids=["lanes", "rows"])
def test_batches_around_the_size_of_a_block(widths: tuple[int, ...], batch: int) -> None:
    (cell,) = cells_of("lstm", widths)
    case = Case(cell, random_lengths(2, batch, longest=4), torch.float64)
    assert_close(case.run(native_scan), case.run(reference_scan), TOLERANCE[torch.float64])


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize(
    ("widths", "longest"), [((5, 5), 4500), ((100,), 1500)], ids=["lanes", "rows"]
)
def test_threads_change_nothing(widths: tuple[int, ...], longest: int, replicas: int) -> None:
    (cell,) = cells_of("dmu", widths)
    case = Case(cell, random_lengths(replicas, 64, longest // replicas), torch.float32)
    expected = case.run(native_scan)
    for count in (2, 5):
        with threads(count):
            assert Loop.plan(cell.program, case.rows, dtype=torch.float32).threads == count
            got = case.run(native_scan)
        assert all(torch.equal(got[name], value) for name, value in expected.items())


@pytest.mark.parametrize("widths", [(5, 5), (20, 20)], ids=["lanes", "rows"])
@pytest.mark.parametrize("model", NATIVE)
def test_a_replica_is_bit_for_bit_what_it_would_be_alone(
    model: str, widths: tuple[int, ...]
) -> None:
    cell = cells_of(model, widths)[0]
    case = Case(cell, random_lengths(3, 8), torch.float32)
    x = cell.project(case.weights, case.x)
    together, _ = scan_of(cell, case.weights, x, case.state, case.rows)
    for replica in range(3):
        own = slice(replica, replica + 1)
        rows = PackedRows(case.rows.lengths[own], CPU)
        weights = {name: weight[own] for name, weight in case.weights.items()}
        state = tuple(part[own] for part in case.state)
        count = int(rows.row_counts[0])
        alone, _ = scan_of(cell, weights, x[own, :count], state, rows)
        assert torch.equal(alone[0], together[replica, :count])


@pytest.mark.parametrize("widths", [(5, 5), (20, 20)], ids=["lanes", "rows"])
@pytest.mark.parametrize("model", NATIVE)
def test_without_gradients_the_same_numbers(model: str, widths: tuple[int, ...]) -> None:
    cell = cells_of(model, widths)[0]
    case = Case(cell, random_lengths(2, 40), torch.float32)
    x = cell.project(case.weights, case.x)
    states, final = scan_of(cell, case.weights, x, case.state, case.rows)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode, nan_in_fresh_memory():
            again, final_again = scan_of(cell, case.weights, x, case.state, case.rows)
        assert torch.equal(states, again)
        assert all(torch.equal(*parts) for parts in zip(final, final_again, strict=True))


@pytest.mark.parametrize("widths", [(2, 2), (9, 9)], ids=["lanes", "rows"])
@pytest.mark.parametrize("model", NATIVE)
def test_gradcheck(model: str, widths: tuple[int, ...]) -> None:
    cell = cells_of(model, widths)[0]
    case = Case(cell, np.array([[1, 3], [2, 1]]), torch.float64)
    x = cell.project(case.weights, case.x).detach().requires_grad_()
    names = [name for name in case.weights if ".input" not in name and not name.startswith("input")]

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        weights = case.weights | dict(zip(names, rest, strict=False))
        states, final = scan_of(cell, weights, x, rest[len(names) :], case.rows)
        return (states[case.rows.valid], *final)

    own = [case.weights[name] for name in names]
    assert torch.autograd.gradcheck(run, (x, *own, *case.state), fast_mode=True)


INPUTS = ("features", "constants", "symbols")
# All narrower than a vector of doubles on any machine.
TINY = [(1,), (2, 3), (3, 2)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("model", NATIVE)
def test_inputs_inside_the_loop(model: str, inputs: str, dtype: torch.dtype) -> None:
    tested, symbols = 0, torch.zeros(1, 1, dtype=torch.int64)
    for cell in chain.from_iterable(cells_of(model, widths) for widths in [*TINY, (5, 5)]):
        for replicas, batch in ((3, 5), (2, 37)):
            case = Case(cell, random_lengths(replicas, batch), dtype, inputs)
            if takes_inputs(cell.program, symbols, rows=case.rows, dtype=dtype):
                with nan_in_fresh_memory():
                    got = case.run(native_recur)
                assert_close(got, case.run(reference_scan), TOLERANCE[dtype])
                tested += 1
    assert tested >= 2


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("model", NATIVE)
def test_gradcheck_inside_the_loop(model: str, inputs: str) -> None:
    cell = cells_of(model, (1, 1))[0]
    case = Case(cell, np.array([[1, 6, 3], [2, 1, 5]]), torch.float64, inputs)
    leaves = case.leaves

    def run(*leaves: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(case.leaves, leaves, strict=True))
        state = tuple(given[f"state_{number}"] for number in range(len(case.state)))
        x = given.get("x", case.x)
        states, final = recur_of(cell, given, x, state, case.rows)
        return (states[case.rows.valid], *final)

    assert torch.autograd.gradcheck(run, tuple(leaves.values()), fast_mode=True)


@pytest.mark.parametrize("inputs", INPUTS)
def test_threads_change_nothing_inside_the_loop(inputs: str) -> None:
    (cell,) = cells_of("dmu", (3, 3))
    case = Case(cell, random_lengths(2, 64, longest=3000), torch.float32, inputs)
    expected = case.run(native_recur)
    with threads(3):
        assert Loop.plan(cell.program, case.rows, dtype=torch.float32).threads > 1
        got = case.run(native_recur)
    assert all(torch.equal(got[name], value) for name, value in expected.items())


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("model", NATIVE)
def test_inside_the_loop_a_replica_is_bit_for_bit_what_it_would_be_alone(
    model: str, inputs: str
) -> None:
    cell = cells_of(model, (2, 3))[0]
    case = Case(cell, random_lengths(3, 40), torch.float32, inputs)
    together = case.run(native_recur)
    for replica in range(3):
        own = slice(replica, replica + 1)
        rows = PackedRows(case.rows.lengths[own], CPU)
        x = case.x[own, : int(rows.row_counts[0])].detach()
        weights = {name: part[own].detach().requires_grad_() for name, part in case.weights.items()}
        state = tuple(part[own] for part in case.state)
        _, final = recur_of(cell, weights, x, state, rows)
        assert torch.equal(final[0], together["final_0"][own])
        once = recur_of(cell, case.weights, case.x, case.state, case.rows)[1][0][own].sum()
        expected = torch.autograd.grad(once, list(case.weights.values()))
        got = torch.autograd.grad(final[0].sum(), list(weights.values()))
        for of_all, of_one in zip(expected, got, strict=True):
            assert torch.equal(of_all[own], of_one)


def test_which_inputs_go_into_the_loop() -> None:
    """Those of a tiny network, unless they are many; the others are projected before it."""
    rows = PackedRows(random_lengths(2, 5), CPU)
    few, x = (torch.zeros(*rows.valid.shape, width) for width in (3, 88))
    many = recurrent_block(88, NetworkSettings("lstm", (1,)))[0]
    wide = recurrent_block(3, NetworkSettings("lstm", (100,)))[0]
    assert not takes_inputs(many.program, x, rows=rows, dtype=torch.float64)
    assert not takes_inputs(wide.program, few, rows=rows, dtype=torch.float64)
    assert takes_inputs(many.program, x[..., 0].long(), rows=rows, dtype=torch.float64)
    for cell in (many, wide):
        case = Case(cell, random_lengths(2, 5), torch.float64)
        got, _ = recur(cell, case.weights, x=case.x, initial_state=case.state, rows=case.rows)
        assert torch.equal(got[case.rows.valid], case.run(native_scan)["states"])


@pytest.mark.parametrize("symbol", [-1, 3])
def test_symbols_that_do_not_exist_are_refused(symbol: int) -> None:
    (cell,) = cells_of("rnn", (1,))
    case = Case(cell, random_lengths(2, 5), torch.float64, "symbols")
    case.x[1, 2] = symbol
    with pytest.raises(ValueError, match=rf"in \[0, 3\), got .*{symbol}"):
        case.run(native_recur)
    wide = cells_of("rnn", (100,))[0]
    with pytest.raises(ValueError, match="tiny"):
        recur_of(wide, case.weights, case.x, case.state, case.rows)


@pytest.mark.parametrize("model", NATIVE)
@pytest.mark.parametrize("scale", [1e3, 1e-6])
def test_saturated_and_tiny_activations(model: str, scale: float) -> None:
    """Far out, activations are 0 and 1; near 0 they keep their relative accuracy."""
    (cell,) = cells_of(model, (20,))
    case = Case(cell, random_lengths(1, 4), torch.float64)
    case.x.data *= scale
    # The slope 1 - tanh^2 of a saturated unit is what rounding leaves of it, on either side.
    tolerance = 1e-9 if scale > 1 else TOLERANCE[torch.float64]
    assert_close(case.run(native_scan), case.run(reference_scan), tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_activations_are_within_a_few_units_in_the_last_place(dtype: torch.dtype) -> None:
    """An RNN without recurrence is a tanh, an LSTM with open gates has a sigmoid as its state."""
    (cell,) = cells_of("rnn", (64,))
    magnitudes = torch.logspace(-8, 2, 3200, dtype=torch.float64)
    x = torch.cat([magnitudes, -magnitudes]).reshape(1, -1, 64).to(dtype)
    weights = {name: torch.zeros(1, *shape, dtype=dtype) for name, shape in cell.shapes.items()}
    rows = PackedRows(np.ones((1, 100), dtype=np.int64), CPU)
    state = (torch.zeros(1, 100, 64, dtype=dtype),)
    got, _ = scan_of(cell, weights, x, state, rows)
    exact = torch.tanh(x.double())
    assert ((got.double() - exact) / exact).abs().max() <= 4 * torch.finfo(dtype).eps


def test_nan_stays_in_its_replica_and_shows() -> None:
    for widths in ((5, 5), (20, 20)):
        (cell,) = cells_of("dmu", widths)
        case = Case(cell, random_lengths(3, 5), torch.float32)
        healthy = case.run(native_scan)
        with torch.no_grad():
            case.weights["dense_2.weight"][1] = torch.nan
        hurt = case.run(native_scan)
        for name in ("final_0", "d_dense_1.state", "d_state_0"):
            assert torch.equal(hurt[name][[0, 2]], healthy[name][[0, 2]])
            assert hurt[name][1].isnan().any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_layout_follows_the_width_of_a_vector(dtype: torch.dtype) -> None:
    """Both layouts are tested on any machine: the widths in this file are chosen for it."""
    rows, alone = (PackedRows(random_lengths(2, batch), CPU) for batch in (5, 1))
    width = load_library(dtype).vector_width()
    assert width * dtype.itemsize in (16, 32, 64)  # bytes of a vector on any processor

    def lanes(widths: tuple[int, ...], rows: PackedRows = rows) -> list[bool]:
        return [
            Loop.plan(cell.program, rows, dtype=dtype).lanes for cell in cells_of("rnn", widths)
        ]

    for units in range(1, 2 * width):
        assert lanes((units,)) == [units < width]
        assert lanes((units,), alone) == [False]
    assert {layout for widths in WIDTHS for layout in lanes(widths)} == {True, False}


def test_gradients_twice_from_one_graph() -> None:
    (cell,) = cells_of("gru", (20,))
    case = Case(cell, random_lengths(2, 5), torch.float64)
    x = cell.project(case.weights, case.x)
    states, _ = scan_of(cell, case.weights, x, case.state, case.rows)
    first, second = (
        torch.autograd.grad(states.sum(), case.weights["state.weight"], retain_graph=True)[0]
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_tensors_of_another_shape_are_refused() -> None:
    (cell,) = cells_of("rnn", (20,))
    case = Case(cell, random_lengths(2, 5), torch.float64)
    x = cell.project(case.weights, case.x)
    with pytest.raises(ValueError, match=r"got \[\(2, \d+, 20\)"):
        scan_of(cell, case.weights, x[:, 1:], case.state, case.rows)
    with pytest.raises(ValueError, match=r"in torch.float64, got .*torch.float32"):
        scan_of(cell, case.weights, x.float(), case.state, case.rows)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("replicas", "rows", "inputs", "outputs"),
    [
        (1, 1, 1, 1),
        (3, 7, 2, 5),
        (2, 193, 17, 33),
        (1, 500, 88, 200),
        (2, 40, 130, 64),
        (2, 400, 300, 270),
    ],
)
def test_affine(replicas: int, rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((replicas, 1, outputs), (replicas, rows, inputs), (replicas, inputs, outputs))
    tensors = [
        torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes
    ]
    up = torch.randn(replicas, rows, outputs, generator=generator).to(dtype)
    results = []
    for product in (native_affine, torch.baddbmm):
        result = product(*tensors)
        gradients = torch.autograd.grad(result, tensors, up)
        results.append(dict(zip("ybxw", (result, *gradients), strict=True)))
    assert_close(*results, TOLERANCE[dtype])
    with threads(3):
        assert torch.equal(native_affine(*tensors), results[0]["y"])


# Relative, of each number, in single precision. A sum of 100 000 positive numbers in parts of a few
# hundred is off by up to 5e-7, PyTorch's by up to 1.5e-6, a running sum by up to 2e-5.
LONG_SUM_TOLERANCE = 2e-6
MANY = 100_000


def assert_long_sums(got: Tensor, exact: Tensor) -> None:
    assert exact.min() > 0
    assert ((got.double() - exact) / exact).abs().max() < LONG_SUM_TOLERANCE


def test_sums_over_many_rows_keep_their_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(1, MANY, 20, generator=generator)
    b = torch.rand(1, MANY, 40, generator=generator)
    matrix, bias = a.double().mT @ b.double(), b.double().sum(dim=1, keepdim=True)
    product, total = correlate(a, b, sums=True)
    assert total is not None
    assert_long_sums(product, matrix)
    assert_long_sums(total, bias)
    add_correlation(a, b, matrix=product, bias=total)
    assert_long_sums(product, 2 * matrix)
    assert_long_sums(total, 2 * bias)
    assert_long_sums(multiply(a.mT, b), matrix)


def test_sums_over_many_notes_keep_their_digits() -> None:
    """Notes of all frequencies: never, seldom and always."""
    generator = torch.Generator().manual_seed(0)
    chances = torch.linspace(-0.1, 1.1, 20)
    notes = (torch.rand(1, MANY, 20, generator=generator) < chances).byte()
    up = torch.rand(1, MANY, 40, generator=generator)
    bias, weight = (torch.zeros(1, rows, 40, requires_grad=True) for rows in (1, 20))
    of_bias, of_weight = torch.autograd.grad(
        native_project(bias, notes, weight), (bias, weight), up
    )
    assert_long_sums(of_bias, up.double().sum(dim=1, keepdim=True))
    exact = notes.double().mT @ up.double()
    sounds = exact[0].amin(dim=1) > 0
    assert 0 < (~sounds).sum() < 5
    assert (of_weight[0, ~sounds] == 0).all()
    assert_long_sums(of_weight[0, sounds], exact[0, sounds])


@pytest.mark.parametrize("inputs", ["features", "symbols"])
def test_sums_over_many_steps_keep_their_digits(inputs: str) -> None:
    """Inside the loop: an RNN without recurrence, so that all shares are known and positive."""
    (cell,) = cells_of("rnn", (2,))
    case = Case(cell, np.full((1, 2), MANY // 2), torch.float32, inputs)
    with torch.no_grad():
        for name, weight in case.weights.items():
            weight.copy_(weight.abs() if name == "input.weight" else torch.zeros_like(weight))
        if inputs == "features":
            case.x.abs_()
    state = tuple(torch.zeros_like(part) for part in case.state)
    results = {}
    for dtype in (torch.float32, torch.float64):
        weights = {n: w.detach().to(dtype).requires_grad_() for n, w in case.weights.items()}
        x = case.x.detach().to(dtype) if inputs == "features" else case.x
        start = tuple(part.to(dtype) for part in state)
        states, _ = recur_of(cell, weights, x, start, case.rows)
        results[dtype] = torch.autograd.grad(states.sum(), list(weights.values()))
    for got, exact in zip(*results.values(), strict=True):
        assert_long_sums(got, exact)


def test_the_gradient_of_a_large_batch_keeps_its_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DMU of Table 3 on 32 tunes, as long as most of Nottingham's, in single precision."""
    lengths = np.random.default_rng(0).integers(40, 500, 32)
    rolls = random_rolls(lengths.tolist(), seed=1)
    gradients = {}
    for backend, dtype in (("native", torch.float32), ("reference", torch.float64)):
        monkeypatch.setenv("DMU_SEARCH_BACKEND", backend)
        task = PolyMusic(PianoRolls(rolls, rolls[:1], rolls[:1]), dtype=dtype)
        network = task.network(NetworkSettings("dmu", (122, 122)))
        drawn = network.initialise([torch.Generator().manual_seed(0)], torch.float32)
        weights = {name: weight.to(dtype).requires_grad_() for name, weight in drawn.items()}
        (batch,) = task.train_batches([torch.Generator().manual_seed(0)], batches_of(32))
        loss = task.loss(network, weights, batch=batch, carry=None).mean.sum()
        found = torch.autograd.grad(loss, list(weights.values()))
        gradients[backend] = dict(zip(weights, found, strict=True))
    # PyTorch's loop in single precision is off by 1e-7 to 3e-7, running sums over the rows by 2e-6.
    assert_close(gradients["native"], gradients["reference"], 5e-7)
