"""Products over all rows at once, by the backend in use."""

import torch
from torch import Tensor

from dmu_search.engine.kernels.backend import choose_backend
from dmu_search.engine.kernels.native.products import add_correlation, multiply, native_affine


def affine(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Apply each replica's dense layer to its rows: ``x W + b``.

    Args:
        bias: ``(replica, 1, out)``.
        x: ``(replica, row, in)``.
        weight: ``(replica, in, out)``.

    Returns:
        ``(replica, row, out)``.
    """
    if choose_backend(x.device, x.dtype).name == "native":
        return native_affine(bias, x, weight)
    return torch.baddbmm(bias, x, weight)


def multiply_into(
    out: Tensor,
    a: Tensor,
    matrix: Tensor,
    bias: Tensor | None = None,
    *,
    transposed: bool = False,
) -> None:
    """``out = a M + b``, or ``a M' + b``; nothing for autograd.

    Args:
        out: the result, contiguous, ``(replica, row, out)``.
        a: ``(replica, row, in)``.
        matrix: ``(replica, in, out)``, or ``(replica, out, in)`` if transposed.
        bias: ``(replica, 1, out)``, or None for 0.
        transposed: whether the matrix is.
    """
    if choose_backend(a.device, a.dtype).name == "native":
        multiply(a, matrix, bias, transposed=transposed, out=out)
        return
    matrix = matrix.mT if transposed else matrix
    if bias is None:
        torch.bmm(a, matrix, out=out)
    else:
        torch.baddbmm(bias, a, matrix, out=out)


def add_gradients(a: Tensor, gradient: Tensor, *, matrix: Tensor, bias: Tensor) -> None:
    """Add to ``matrix`` and ``bias`` their gradients from ``a M + b``; nothing for autograd.

    Args:
        a: what the matrix was applied to, ``(replica, row, in)``.
        gradient: of the result, ``(replica, row, out)``.
        matrix: changed in place, contiguous, ``(replica, in, out)``.
        bias: changed in place, contiguous, ``(replica, 1, out)``.
    """
    if choose_backend(a.device, a.dtype).name == "native":
        add_correlation(a, gradient, matrix=matrix, bias=bias)
        return
    matrix.baddbmm_(a.mT, gradient)
    bias.add_(gradient.sum(dim=1, keepdim=True))
