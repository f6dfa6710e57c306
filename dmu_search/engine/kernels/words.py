"""Words in and words out: an embedding and a softmax over a vocabulary of thousands.

Written out, the logits of a batch would be its largest tensor by far (100 steps of 32 streams over
10 000 words: 128 MB), and a fresh gradient of an embedding in each step the next one.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dmu_search.engine.kernels.products import add_gradients, multiply_into
from dmu_search.engine.kernels.rows import take_rows

# Logits that are in memory at a time. On a CPU a few hundred rows of them, which a near cache holds
# and whose products run at full speed; elsewhere enough for a large device to be busy.
CPU_LOGITS = 2**22
DEVICE_LOGITS = 2**26


def embed(table: Tensor, words: Tensor) -> Tensor:
    """Look up the embedding of each word.

    The gradient of the table is added to ``table.grad`` row by row where that is a tensor already;
    a dense gradient, as large as the table, is made only where there is none to add to.

    Args:
        table: ``(replica, vocabulary, embedding)``.
        words: whole numbers in ``[0, vocabulary)``, ``(replica, row)``.

    Returns:
        ``(replica, row, embedding)``.
    """
    result: Tensor = _Embed.apply(table, words)  # type: ignore[no-untyped-call]
    return result


class _Embed(torch.autograd.Function):
    """Rows of a table, differentiable once."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, words: Tensor) -> Tensor:
        ctx.save_for_backward(table, words)
        return take_rows(table, words)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        table, words = ctx.saved_tensors
        replica = torch.arange(len(words), device=words.device).unsqueeze(1).expand_as(words)
        index = torch.stack([replica.flatten(), words.flatten()])
        sparse = torch.sparse_coo_tensor(
            index, gradient.flatten(0, 1), table.shape, check_invariants=False
        )
        # Autograd adds a sparse gradient to a dense one in place, so only its rows are touched.
        accumulates = table.is_leaf and table.grad is not None
        return sparse if accumulates else sparse.to_dense(), None


def softmax_nll(
    states: Tensor, weight: Tensor, bias: Tensor, *, targets: Tensor, shares: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of a dense layer with a softmax, a chunk of rows at a time.

    ``nll = log sum exp(s W + b) - (s W + b)[target]``, and the sum of ``shares * nll``, which may
    be differentiated with respect to states, weight and bias. Its gradients are computed along
    with it, while a chunk's logits are at hand; no more than a chunk of logits ever exists.

    Args:
        states: what the layer reads, ``(replica, row, in)``.
        weight: ``(replica, in, vocabulary)``.
        bias: ``(replica, 1, vocabulary)``.
        targets: the right word of each row, ``(replica, row)``.
        shares: of each row in its replica's sum, such as one over their number in a mean, 0 for
            padding, ``(replica, row)``.

    Returns:
        The sum, ``(replica,)``, and the negative log-likelihood of each row in nats, without a
        gradient, ``(replica, row)``.
    """
    total, nll = _SoftmaxNll.apply(  # type: ignore[no-untyped-call]
        states, weight, bias, targets, shares
    )
    return total, nll


@torch.no_grad()
def word_nll(states: Tensor, weight: Tensor, bias: Tensor, *, targets: Tensor) -> Tensor:
    """Negative log-likelihood of each row's target in nats, without gradients.

    Args:
        states: what the layer reads, ``(replica, row, in)``.
        weight: ``(replica, in, vocabulary)``.
        bias: ``(replica, 1, vocabulary)``.
        targets: the right word of each row, ``(replica, row)``.

    Returns:
        ``(replica, row)``.
    """
    nll = states.new_empty(targets.shape)
    for part, logits in _logits(states, weight, bias):
        nll[part], _ = _nll_and_probabilities(logits, targets[part])
    return nll


@torch.no_grad()
def likeliest_words(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The word with the largest logit of each row, without gradients.

    Args:
        states: what the layer reads, ``(replica, row, in)``.
        weight: ``(replica, in, vocabulary)``.
        bias: ``(replica, 1, vocabulary)``.

    Returns:
        ``(replica, row)``; of equally likely words the first, and of nan some word.
    """
    best = torch.empty(states.shape[:2], dtype=torch.int64, device=states.device)
    for part, logits in _logits(states, weight, bias):
        best[part] = logits.argmax(dim=2)
    return best


class _SoftmaxNll(torch.autograd.Function):
    """The forward pass computes the gradients for a gradient of 1; differentiable once."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, shares: Tensor
    ) -> tuple[Tensor, Tensor]:
        nll = states.new_empty(targets.shape)
        grad_states = torch.empty_like(states, memory_format=torch.contiguous_format)
        grad_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        grad_bias = torch.zeros_like(bias, memory_format=torch.contiguous_format)
        for part, logits in _logits(states, weight, bias):
            replica = part[0]
            nll[part], gradient = _nll_and_probabilities(logits, targets[part])
            right = targets[part].unsqueeze(2)
            gradient.scatter_add_(2, right, gradient.new_full(right.shape, -1.0))
            gradient.mul_(shares[part].unsqueeze(2))
            multiply_into(grad_states[part], gradient, weight[replica], transposed=True)
            add_gradients(
                states[part], gradient, matrix=grad_weight[replica], bias=grad_bias[replica]
            )
        ctx.save_for_backward(grad_states, grad_weight, grad_bias)
        ctx.mark_non_differentiable(nll)
        return (nll * shares).sum(dim=1), nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scale = gradient.reshape(-1, 1, 1)
        return (*(own * scale for own in ctx.saved_tensors), None, None)


def _logits(
    states: Tensor, weight: Tensor, bias: Tensor
) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Chunks of rows of one replica, and their logits, ``(1, row, vocabulary)``.

    All logits share their memory: a chunk's are gone when the next one is asked for.
    """
    rows, vocabulary = states.shape[1], weight.shape[2]
    size = (CPU_LOGITS if states.device.type == "cpu" else DEVICE_LOGITS) // vocabulary
    size = min(max(size, 1), rows)
    buffer = states.new_empty(1, size, vocabulary)
    for replica in range(len(states)):
        own = slice(replica, replica + 1)
        for first in range(0, rows, size):
            part = own, slice(first, first + size)
            logits = buffer[:, : rows - first]
            multiply_into(logits, states[part], weight[own], bias[own])
            yield part, logits


def _nll_and_probabilities(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of the targets, shaped like them, and the softmax.

    ``log sum exp`` is had from the softmax: it is the largest logit less the logarithm of the
    largest probability, which is at least ``1 / vocabulary``, so that nothing is lost.
    """
    probabilities = torch.softmax(logits, dim=2)
    largest, likeliest = logits.amax(dim=2), probabilities.amax(dim=2)
    right = logits.gather(2, targets.unsqueeze(2)).squeeze(2)
    return largest - right - likeliest.log(), probabilities
