"""Products over all rows at once, by the backend in use."""

import torch
from torch import Tensor

from dmu_search.engine.backend import choose_backend
from dmu_search.engine.native.products import native_affine


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
