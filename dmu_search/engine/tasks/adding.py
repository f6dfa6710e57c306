"""Adding: remember two marked numbers of a long sequence and say their sum."""

from typing import ClassVar

import torch
from torch import Tensor

from dmu_search.engine.tasks.generated import GeneratedTask, Sequences, below
from dmu_search.names import TASKS, Direction

# The first marked step is one of so many.
FIRST_MARKED = 10
# Numbers that decide the length and the two marked steps; then comes one per step.
_CHOICES = 3


class Adding(GeneratedTask):
    """Pairs (value, marker) in; at the end ``0.5 + (a1 + a2) / 4`` of the two marked values out.

    Neumann et al., "Deep Memory Update", after Hochreiter and Schmidhuber (1997), Section 5.4.
    Lengths T are uniform in [L, L + ceil(L / 10)], values in [-1, 1). The first marked step is
    uniform in [0, 10), whatever L is, as in the release; the second in [0, T // 2 - 1), redrawn
    until it differs. Markers are 1 there, -1 at the first and the last step, 0 elsewhere; a marked
    step 0 keeps its -1 and adds 0 to the sum.
    """

    objective: ClassVar[str] = "mse"
    direction: ClassVar[Direction] = TASKS["adding"].direction
    loss_name: ClassVar[str] = "mse"
    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1

    @property
    def numbers(self) -> int:
        """Length and marked steps, then a value for each step."""
        return _CHOICES + self.rules.longest

    def sequences(self, draws: Tensor) -> Sequences:
        """Apply the rules; draws are ``(replica, number, batch)``."""
        lengths = self.rules.length + below(draws[:, 0], self.rules.tenth + 1)
        marked = torch.stack(marked_steps(draws[:, 1], draws[:, 2], lengths=lengths), dim=1)
        values = 2.0 * draws[:, _CHOICES:] - 1.0
        inputs = values.new_zeros(*values.shape, self.input_size)
        inputs[..., 0] = values  # five times as fast as stacking
        markers = inputs[..., 1]
        markers.scatter_(1, marked, 1.0)
        markers[:, 0] = -1.0
        markers.scatter_(1, lengths.unsqueeze(1) - 1, -1.0)
        addends = values.gather(1, marked).where(marked > 0, 0.0)
        return Sequences(
            inputs=inputs,
            lengths=lengths,
            targets=0.5 + addends.sum(dim=1) / 4.0,
        )

    @staticmethod
    def scores(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Squared error of each sequence, ``(replica, batch)``."""
        return {"mse": (outputs.squeeze(2) - targets).square()}


def marked_steps(
    first_draw: Tensor, second_draw: Tensor, *, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Two different steps; the shape of all is ``(replica, batch)``.

    Redrawing until the steps differ is a uniform choice among the other steps, which needs one
    draw: number those steps, leaving the first one out.
    """
    first = below(first_draw, FIRST_MARKED)
    limit = lengths // 2 - 1
    among_others = below(second_draw, limit - (first < limit).long())
    return first, among_others + (among_others >= first).long()


TASK = Adding
