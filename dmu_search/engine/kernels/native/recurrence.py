"""The native backend of ``scan``: the loop over time in C++, large products before and after it.

A tiny network has the product of the inputs in its loop, too: writing its output and gradient and
reading them again takes longer than computing them.
"""

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dmu_search.engine.kernels.native.build import load_library
from dmu_search.engine.kernels.native.products import WORTH_A_THREAD, correlate
from dmu_search.engine.kernels.rows import PackedRows, State

# Sequences of a task in layout Rows: what a step needs of them stays in the nearest caches.
ROWS_BLOCK = 64
# Smaller tasks are slower per sequence, as each reads all weights in every step.
SMALLEST_BLOCK = 8

Tensors = Sequence[Tensor | None]


@dataclass(frozen=True)
class Program:
    """What one step of a cell is made of; all that the library knows of it.

    Attributes:
        number: of the cell in ``task.hpp``.
        weights: name of the matrix of each product, in order.
        biases: name of what is added to each; None where the inputs' projection has it already.
        gates: activations of each that the backward pass needs, in widths of the state.
        sizes: units in and out of each product.
        components: tensors that the state is made of.
    """

    number: int
    weights: tuple[str, ...]
    biases: tuple[str | None, ...]
    gates: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    components: int = 1

    def pick(self, weights: Mapping[str, Tensor]) -> tuple[list[Tensor], Tensors]:
        """Its matrices and biases."""
        biases = [None if name is None else weights[name] for name in self.biases]
        return [weights[name] for name in self.weights], biases


def native_scan(
    program: Program,
    weights: Mapping[str, Tensor],
    *,
    x_projected: Tensor,
    initial_state: State,
    rows: PackedRows,
) -> tuple[Tensor, State]:
    """Run a program over packed sequences; else as ``engine.networks.scan.reference_scan``.

    Results differ from the reference's by rounding: sums of products are taken in another order,
    and activations are polynomials that are off by at most 3 units in the last place.

    Raises:
        NativeUnavailableError: if the library cannot be built here.
    """
    loop = Loop.plan(program, rows, dtype=initial_state[0].dtype)
    matrices, biases = program.pick(weights)
    return _run(loop, x_projected, initial_state=initial_state, matrices=matrices, biases=biases)


def takes_inputs(program: Program, x: Tensor, *, rows: PackedRows, dtype: torch.dtype) -> bool:
    """Whether ``native_recur`` is for such a program and such inputs: if both are tiny."""
    loop = Loop.plan(program, rows, dtype=dtype)
    few = not x.is_floating_point() or x.shape[2] < loop.library.vector_width()
    return loop.lanes and few


def native_recur(
    program: Program,
    weights: Mapping[str, Tensor],
    *,
    projection: tuple[Tensor, Tensor],
    x: Tensor,
    initial_state: State,
    rows: PackedRows,
) -> tuple[Tensor, State]:
    """Project the inputs and run a program over them in one loop, where ``takes_inputs``.

    Args:
        program: what happens inside a step.
        weights: the cell's own, each with a leading replica axis.
        projection: bias and matrix over the inputs, ``(replica, 1, projected)`` and
            ``(replica, input, projected)``.
        x: packed inputs, ``(replica, row, input)``, or symbols for one-hot inputs,
            ``(replica, row)``.
        initial_state: one ``(replica, batch, hidden)`` per component, in batch order.
        rows: the packing of the batch.

    Returns:
        As ``native_scan``.

    Raises:
        NativeUnavailableError: if the library cannot be built here.
        ValueError: if there is no such symbol, or the network is not tiny.
    """
    bias, matrix = projection
    input_size = matrix.shape[1]
    symbols = not x.is_floating_point()
    loop = Loop.plan(program, rows, dtype=initial_state[0].dtype)
    if not loop.lanes:
        raise ValueError(f"only a tiny network takes its inputs into the loop, not {program.sizes}")
    loop = replace(loop, sizes=(*loop.sizes, (input_size, matrix.shape[2])), symbols=symbols)
    if symbols and not 0 <= int(x.min()) <= int(x.max()) < input_size:
        raise ValueError(
            f"symbols must be in [0, {input_size}), got {int(x.min())} to {int(x.max())}"
        )
    matrices, biases = program.pick(weights)
    return _run(
        loop,
        x.long() if symbols else x,
        initial_state=initial_state,
        matrices=[*matrices, matrix],
        biases=[*biases, bias],
    )


def _run(
    loop: "Loop", x: Tensor, *, initial_state: State, matrices: Tensors, biases: Tensors
) -> tuple[Tensor, State]:
    inputs = (x, *initial_state, *matrices, *biases)
    loop.check(inputs)
    differentiate = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in inputs
    )
    run = _Recurrence.apply if differentiate else _forward
    states, *final = run(loop, *inputs)
    return states, tuple(final)


class _Problem(ctypes.Structure):
    """The struct of the same name in ``task.hpp``; the two must be kept in step."""

    SIZES = ("cell", "layers", "products", "components", "hidden", "replicas", "batch", "times")
    CHOICES = ("rows", "symbols", "blocks", "lanes", "threads")
    INTEGERS = ("inputs", "outputs", "order", "active", "offsets")
    # Those that are lists have an entry per product or per component of the state.
    TENSORS: Mapping[str, type] = {
        "weights": list, "biases": list, "x": Tensor, "initial": list, "final": list,
        "states": Tensor, "inner": list, "gates": list, "trace": list, "grad_states": Tensor,
        "grad_final": list, "grad_initial": list, "grad_x": Tensor, "grad_outputs": list,
        "grad_recurrent": Tensor, "previous": Tensor, "grad_weights": list, "grad_biases": list,
    }  # fmt: skip
    _fields_ = (
        *((name, ctypes.c_int64) for name in SIZES + CHOICES),
        *((name, ctypes.c_void_p) for name in INTEGERS),
        *((name, ctypes.c_void_p) for name in TENSORS),
    )


@dataclass(frozen=True, eq=False)
class Loop:
    """One recurrence over one batch: its sizes, and how the work is laid out and cut.

    Attributes:
        program: of the cell.
        sizes: units in and out of each product: those of the program, and maybe that of the inputs.
        rows: the packing of the batch.
        library: for the precision of the tensors.
        dtype: that precision.
        lanes: whether vectors hold sequences, as suits tiny networks, instead of units.
        threads: how many share the work.
        blocks: parts that each replica's batch is cut into.
        symbols: whether the inputs are one-hot.
    """

    program: Program
    sizes: tuple[tuple[int, int], ...]
    rows: PackedRows
    library: ctypes.CDLL
    dtype: torch.dtype
    lanes: bool
    threads: int
    blocks: int
    symbols: bool = False

    @classmethod
    def plan(cls, program: Program, rows: PackedRows, *, dtype: torch.dtype) -> "Loop":
        """Choose layout, threads and blocks by the shapes.

        Raises:
            NativeUnavailableError: if the library cannot be built here.
        """
        sizes = program.sizes
        library = load_library(dtype)
        # A layer narrower than a vector leaves part of it empty. Measured, the border is there.
        lanes = rows.batch > 1 and max(units for units, _ in sizes) < library.vector_width()
        work = int(rows.row_counts.sum()) * sum(map(math.prod, sizes))
        threads = max(1, min(torch.get_num_threads(), work // WORTH_A_THREAD))
        blocks = -(-rows.batch // (library.lane_count() if lanes else ROWS_BLOCK))
        if threads > rows.replicas and not lanes:
            # Sequences that end early are cheap, so equal parts are unequal work: make more parts.
            blocks = max(blocks, min(rows.batch // SMALLEST_BLOCK, 4 * threads))
        return cls(program, sizes, rows, library, dtype, lanes, threads, blocks)

    @property
    def components(self) -> int:
        """Tensors that the state is made of."""
        return self.program.components

    @property
    def layers(self) -> int:
        """Products of the program."""
        return len(self.program.weights)

    @property
    def takes_inputs(self) -> bool:
        """Whether the last product is that of the inputs."""
        return len(self.sizes) > self.layers

    @property
    def x_width(self) -> int:
        """Numbers of a row of inputs, projected or not."""
        return self.sizes[-1][0] if self.takes_inputs else self.sizes[0][1]

    @property
    def biased(self) -> tuple[bool, ...]:
        """Which products the loop adds a bias to."""
        of_program = tuple(name is not None for name in self.program.biases)
        return (*of_program, True) if self.takes_inputs else of_program

    @property
    def hidden(self) -> int:
        """Width of the state."""
        return self.sizes[0][0]

    def packed(self, width: int) -> Tensor:
        """Room for a packed tensor, ``(replica, row, width)``."""
        return torch.empty(
            self.rows.replicas, int(self.rows.row_counts.max()), width, dtype=self.dtype
        )

    def kept(self, width: int) -> Tensor:
        """Room for so many numbers of each step, in the layout of the loop."""
        if not self.lanes:
            return self.packed(width)
        times = self.rows.active_rows.shape[1]
        shape = (self.rows.replicas, self.blocks, times, width, self.library.lane_count())
        return torch.empty(shape, dtype=self.dtype)

    def run(self, *, backward: bool, **tensors: Tensor | Tensors | None) -> None:
        """Call the library.

        Args:
            backward: which pass.
            tensors: contiguous, by their names in ``_Problem``; what is left out is null.

        Raises:
            MemoryError: if there is none for the buffers of a step.
        """
        integers = {
            "inputs": np.array([size[0] for size in self.sizes]),
            "outputs": np.array([size[1] for size in self.sizes]),
            "order": np.ascontiguousarray(self.rows.order),
            "active": np.ascontiguousarray(self.rows.active_rows),
            "offsets": np.ascontiguousarray(self.rows.offsets),
        }
        entries = max(len(self.sizes), self.components)
        lists = {
            name: _addresses(tensors.get(name), entries)
            for name, kind in _Problem.TENSORS.items()
            if kind is list
        }
        problem = _Problem(
            cell=self.program.number,
            layers=self.layers,
            products=len(self.sizes),
            components=self.components,
            hidden=self.hidden,
            replicas=self.rows.replicas,
            batch=self.rows.batch,
            times=self.rows.active_rows.shape[1],
            rows=int(self.rows.row_counts.max()),
            symbols=self.symbols,
            blocks=self.blocks,
            lanes=self.lanes,
            threads=min(self.threads, self.rows.replicas * self.blocks),
            **{name: array.ctypes.data for name, array in integers.items()},
            **{name: ctypes.addressof(array) for name, array in lists.items()},
            **{
                name: tensor.data_ptr()
                for name, tensor in tensors.items()
                if isinstance(tensor, Tensor)
            },
        )
        if self.library.run(ctypes.byref(problem), int(backward)):
            raise MemoryError("the native recurrence got no memory for the buffers of a step")

    def check(self, inputs: Tensors) -> None:
        """Refuse what C++ would read beyond: a tensor of another shape or precision.

        Raises:
            ValueError: with the shapes there should be, and those there are.
        """
        replicas, row_count = self.rows.replicas, int(self.rows.row_counts.max())
        x = (replicas, row_count) if self.symbols else (replicas, row_count, self.x_width)
        expected: list[tuple[int, ...] | None] = [x]
        expected += [(replicas, self.rows.batch, self.hidden)] * self.components
        expected += [(replicas, *size) for size in self.sizes]
        expected += [
            (replicas, 1, size[1]) if biased else None
            for biased, size in zip(self.biased, self.sizes, strict=True)
        ]
        shapes = [None if tensor is None else tuple(tensor.shape) for tensor in inputs]
        floats = inputs[1:] if self.symbols else inputs
        dtypes = {tensor.dtype for tensor in floats if tensor is not None}
        if shapes != expected or dtypes != {self.dtype}:
            raise ValueError(
                f"a scan of {len(self.sizes)} products needs tensors of {expected} "
                f"in {self.dtype}, got {shapes} in {dtypes}"
            )

    def split(self, inputs: Tensors) -> tuple[Tensor, list[Tensor], list[Tensor], Tensors]:
        """Projected inputs, initial state, matrices and biases, contiguous."""
        x, *rest = [None if tensor is None else tensor.contiguous() for tensor in inputs]
        first, last = self.components, self.components + len(self.sizes)
        return x, rest[:first], rest[first:last], rest[last:]  # type: ignore[return-value]


def _addresses(tensors: Tensor | Tensors | None, entries: int) -> "ctypes.Array[ctypes.c_void_p]":
    """Addresses of tensors, null for those that are None or not given."""
    addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors or ()]
    return (ctypes.c_void_p * entries)(*addresses)


def _forward(loop: Loop, *inputs: Tensor | None) -> tuple[Tensor, ...]:
    """States and final state, with nothing kept for a backward pass."""
    states, final, _ = _run_forward(loop, inputs, keep=False)
    return (states, *final)


def _run_forward(
    loop: Loop, inputs: Tensors, *, keep: bool
) -> tuple[Tensor, list[Tensor], dict[str, Tensors]]:
    """Also returns what the backward pass needs, by its names in ``_Problem``."""
    x, initial, weights, biases = loop.split(inputs)
    states = loop.packed(loop.hidden)
    final = [torch.empty_like(component) for component in initial]
    kept: dict[str, Tensors] = {}
    if keep or not loop.lanes:
        # Layout Rows has its first trace in the result itself.
        first = loop.kept(loop.hidden) if loop.lanes else states
        kept["trace"] = [first, *(loop.kept(loop.hidden) for _ in initial[1:])]
    if keep and not loop.lanes:
        kept["inner"] = [loop.kept(width) for width, _ in loop.sizes[1 : loop.layers]]
        kept["gates"] = [
            loop.kept(widths * loop.hidden) if widths else None for widths in loop.program.gates
        ]
    loop.run(
        backward=False,
        x=x,
        initial=initial,
        weights=weights,
        biases=biases,
        states=states,
        final=final,
        **kept,
    )
    return states, final, kept


class _Recurrence(torch.autograd.Function):
    """The loop, differentiable once.

    Inputs are x, projected or not, the components of the initial state, the matrices, and as many
    biases or None; results are the states and the components of the final one.
    """

    @staticmethod
    def forward(ctx: Any, loop: Loop, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        states, final, kept = _run_forward(loop, inputs, keep=True)
        if not loop.lanes:
            kept["trace"] = kept["trace"][1:]  # a result kept outside save_for_backward would leak
        ctx.loop, ctx.kept = loop, kept
        # Layout Lanes computes each step again.
        states_kept, x = (None, inputs[0]) if loop.lanes else (states, None)
        ctx.save_for_backward(states_kept, x, *inputs[1:])
        ctx.set_materialize_grads(False)
        return (states, *final)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_states: Tensor | None, *grad_final: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        loop: Loop = ctx.loop
        states, *inputs = ctx.saved_tensors
        kept = dict(ctx.kept)
        if not loop.lanes:
            kept["trace"] = [states, *kept["trace"]]
        x, initial, weights, biases = loop.split(inputs)
        gradients = [
            None if gradient is None else gradient.contiguous()
            for gradient in (grad_states, *grad_final)
        ]
        grad_initial = [torch.empty_like(component) for component in initial]
        for_x = loop.lanes and ctx.needs_input_grad[1]
        given = {
            "x": x,
            "grad_x": loop.packed(loop.x_width) if for_x else None,
            "initial": initial,
            "weights": weights,
            "biases": biases,
            "grad_states": gradients[0],
            "grad_final": gradients[1:],
            "grad_initial": grad_initial,
        }
        finish = _backward_lanes if loop.lanes else _backward_rows
        grad_x, grad_weights, grad_biases = finish(loop, kept, given=given)
        used = [
            None if bias is None else grad for bias, grad in zip(biases, grad_biases, strict=True)
        ]
        return (None, grad_x, *grad_initial, *grad_weights, *used)


Gradients = tuple[Tensor | None, list[Tensor], Tensors]


def _backward_rows(loop: Loop, kept: dict[str, Tensors], *, given: dict[str, Any]) -> Gradients:
    """The loop gives the gradient of each product's output, one product over all rows the rest."""
    outputs = [loop.packed(width) for _, width in loop.sizes]
    # A GRU's reset gate lies between its product and what the input is added to.
    recurrent = loop.packed(loop.sizes[0][1]) if loop.program.biases[0] else None
    previous = loop.packed(loop.hidden)
    loop.run(
        backward=True,
        grad_outputs=outputs,
        grad_recurrent=recurrent,
        previous=previous,
        **kept,
        **given,
    )
    of_products = [outputs[0] if recurrent is None else recurrent, *outputs[1:]]
    read: list[Any] = [previous, *kept["inner"]]
    gradients = [
        correlate(operand, gradient, sums=name is not None)
        for operand, gradient, name in zip(read, of_products, loop.program.biases, strict=True)
    ]
    return outputs[0], [weight for weight, _ in gradients], [bias for _, bias in gradients]


def _backward_lanes(loop: Loop, kept: dict[str, Tensors], *, given: dict[str, Any]) -> Gradients:
    """The loop gives everything, the gradients of weights once per block of sequences."""
    parts = (loop.rows.replicas, loop.blocks)
    grad_weights = [torch.empty(*parts, *size, dtype=loop.dtype) for size in loop.sizes]
    grad_biases = [
        torch.empty(*parts, 1, size[1], dtype=loop.dtype) if biased else None
        for biased, size in zip(loop.biased, loop.sizes, strict=True)
    ]
    loop.run(
        backward=True,
        grad_weights=grad_weights,
        grad_biases=grad_biases,
        **kept,
        **given,
    )
    return (
        given["grad_x"],
        [gradient.sum(dim=1) for gradient in grad_weights],
        [None if gradient is None else gradient.sum(dim=1) for gradient in grad_biases],
    )
