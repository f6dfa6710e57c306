"""Notes in and notes out in C++: no product with zeros, no logarithm per note."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dmu_search.engine.kernels.native.build import load_library

# Rows below which a second thread costs more than it brings.
WORTH_A_THREAD = 4_000


class _NotesProblem(ctypes.Structure):
    """The struct of the same name in ``notes.hpp``; the two must be kept in step."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("replicas", "rows", "depth", "columns", "threads")),
        *((name, ctypes.c_void_p) for name in ("notes", "b", "bias", "c")),
    )


def _call(name: str, notes: Tensor, *, b: Tensor, c: Tensor, bias: Tensor | None = None) -> None:
    """Call the function of that name in ``notes.hpp``; all tensors are contiguous.

    Raises:
        ValueError: for tensors that C++ would misread or read beyond.
    """
    replicas, rows, depth = notes.shape
    columns = b.shape[-1]
    sums, outputs = (replicas, 1, columns), (replicas, rows, columns)
    expected = {
        "add_rows": ((replicas, depth, columns), sums, outputs),
        "collect_rows": (outputs, sums, (replicas, depth, columns)),
        "note_nll": ((replicas, rows, depth), None, (replicas, rows)),
        "note_slopes": ((replicas, rows, depth), (replicas, rows), (replicas, rows, depth)),
    }[name]
    shapes = tuple(None if tensor is None else tuple(tensor.shape) for tensor in (b, bias, c))
    floats = [tensor for tensor in (b, bias, c) if tensor is not None]
    if shapes != expected or notes.dtype != torch.uint8 or {f.dtype for f in floats} != {b.dtype}:
        raise ValueError(
            f"{name} of {tuple(notes.shape)} bytes needs tensors of {expected} in one precision, "
            f"got {shapes} in {[f.dtype for f in floats]} and notes in {notes.dtype}"
        )
    if not all(tensor.is_contiguous() for tensor in (notes, *floats)):
        raise ValueError(f"{name}: every tensor must be contiguous")
    threads = max(min(torch.get_num_threads(), replicas * rows // WORTH_A_THREAD), 1)
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in (notes, b, bias, c)]
    problem = _NotesProblem(replicas, rows, depth, columns, threads, *pointers)
    getattr(load_library(b.dtype), name)(ctypes.byref(problem))


class _Project(torch.autograd.Function):
    """``x W + b`` for zeros and ones, differentiable once."""

    @staticmethod
    def forward(ctx: Any, bias: Tensor, notes: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(notes)
        result = weight.new_empty(*notes.shape[:2], weight.shape[2])
        _call("add_rows", notes, b=weight.contiguous(), c=result, bias=bias.contiguous())
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (notes,) = ctx.saved_tensors
        replicas, _, columns = gradient.shape
        grad_bias = gradient.new_empty(replicas, 1, columns)
        grad_weight = gradient.new_empty(replicas, notes.shape[2], columns)
        _call("collect_rows", notes, b=gradient.contiguous(), c=grad_weight, bias=grad_bias)
        return grad_bias, None, grad_weight


def native_project(bias: Tensor, notes: Tensor, weight: Tensor) -> Tensor:
    """``x W + b`` for each replica; shapes as in ``notes.project_notes``."""
    result: Tensor = _Project.apply(  # type: ignore[no-untyped-call]
        bias, notes.contiguous(), weight
    )
    return result


class _Nll(torch.autograd.Function):
    """Cross-entropy of each row, differentiable once."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, notes: Tensor) -> Tensor:
        ctx.save_for_backward(logits, notes)
        nll = logits.new_empty(logits.shape[:2])
        _call("note_nll", notes, b=logits, c=nll)
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logits, notes = ctx.saved_tensors
        slopes = torch.empty_like(logits)
        _call("note_slopes", notes, b=logits, c=slopes, bias=gradient.contiguous())
        return slopes, None


def native_nll(logits: Tensor, notes: Tensor) -> Tensor:
    """Cross-entropy of each row; shapes as in ``notes.note_nll``."""
    nll: Tensor = _Nll.apply(  # type: ignore[no-untyped-call]
        logits.contiguous(), notes.contiguous()
    )
    return nll
