"""Notes in and notes out: multi-hot inputs, and the cross-entropy of yes-or-no questions.

A step of a piano roll has 4 notes of 88, so of the product of the inputs 21 terms of 22 are zeros.
"""

from torch import Tensor
from torch.nn import functional

from dmu_search.engine.kernels.backend import choose_backend
from dmu_search.engine.kernels.native.notes import native_nll, native_project
from dmu_search.engine.kernels.products import affine


def project_notes(bias: Tensor, notes: Tensor, weight: Tensor) -> Tensor:
    """``affine`` of zeros and ones: the sum of the rows of each row's notes.

    Args:
        bias: ``(replica, 1, out)``.
        notes: 1 where a note sounds, else 0, as bytes, ``(replica, row, in)``.
        weight: ``(replica, in, out)``.

    Returns:
        ``(replica, row, out)``.
    """
    if choose_backend(weight.device, weight.dtype).name == "native":
        return native_project(bias, notes, weight)
    return affine(bias, notes.to(weight.dtype), weight)


def note_nll(logits: Tensor, notes: Tensor) -> Tensor:
    """Cross-entropy of each row, summed over its notes, all being independent questions.

    Natively it is within a few units in the last place of the largest note's share; the gradient is
    ``sigmoid(logit) - note``.

    Args:
        logits: of each note's probability, ``(replica, row, note)``.
        notes: 1 where a note sounds, else 0, as bytes, shaped alike.

    Returns:
        In nats, ``(replica, row)``.
    """
    if choose_backend(logits.device, logits.dtype).name == "native":
        return native_nll(logits, notes)
    return functional.binary_cross_entropy_with_logits(
        logits, notes.to(logits.dtype), reduction="none"
    ).sum(dim=-1)
