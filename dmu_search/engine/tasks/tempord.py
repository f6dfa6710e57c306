"""TempOrd: say in which order three widely separated symbols came."""

from typing import ClassVar

import torch
from torch import Tensor

from dmu_search.engine.tasks.generated import (
    GeneratedTask,
    Rules,
    Sequences,
    below,
    class_scores,
)
from dmu_search.names import TASKS, Direction

FILLERS = 4  # a, b, c and d are the symbols 0 to 3
X, Y, START, END = range(FILLERS, FILLERS + 4)
SYMBOLS = FILLERS + 4
MARKS = 3
CLASSES = 2**MARKS
# Numbers that decide the length, the class and the three steps; then comes one per step.
_CHOICES = 2 + MARKS


class TempOrd(GeneratedTask):
    """Eight symbols in; at the end one of eight classes out, by what X and Y were at three steps.

    Neumann et al., "Deep Memory Update", after Hochreiter and Schmidhuber (1997), Section 5.6, Task
    6b. Lengths are uniform in [L, L + ceil(L / 10)]. A sequence begins with E and ends with B; X or
    Y stand at steps t1, t2 and t3, uniform in the windows of ``windows``; all else is uniform among
    a, b, c and d. The class is ``4 b1 + 2 b2 + b3`` with b = 1 for Y.
    """

    objective: ClassVar[str] = "nll_nats"
    direction: ClassVar[Direction] = TASKS["tempord"].direction
    loss_name: ClassVar[str] = "nll_nats"
    input_size: ClassVar[int] = SYMBOLS
    output_size: ClassVar[int] = CLASSES

    @property
    def numbers(self) -> int:
        """Length, class and steps, then a filler for each step."""
        return _CHOICES + self.rules.longest

    def sequences(self, draws: Tensor) -> Sequences:
        """Apply the rules; draws are ``(replica, number, batch)``."""
        lengths = self.rules.length + below(draws[:, 0], self.rules.tenth + 1)
        classes = below(draws[:, 1], CLASSES)
        starts, width = windows(self.rules)
        first = torch.tensor(starts, device=draws.device).unsqueeze(1)
        steps = first + below(draws[:, 2:_CHOICES], width)
        bits = torch.arange(MARKS - 1, -1, -1, device=draws.device).unsqueeze(1)
        marks = X + (classes.unsqueeze(1) >> bits & 1)
        symbols = below(draws[:, _CHOICES:], FILLERS).scatter_(1, steps, marks)
        symbols[:, 0] = START
        symbols.scatter_(1, lengths.unsqueeze(1) - 1, END)
        return Sequences(inputs=symbols, lengths=lengths, targets=classes)

    @staticmethod
    def scores(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats, and hit or miss, of each sequence."""
        return class_scores(outputs, targets)


def windows(rules: Rules) -> tuple[tuple[int, int, int], int]:
    """First steps of the windows of t1, t2 and t3, and their width.

    The release's: they begin at ``w``, ``3 w + 3`` and ``6 w + 6`` and are ``w`` wide, a tenth of L
    rounded up: [10, 20), [33, 43) and [66, 76) at the paper's length of 100; from 5, 18 and 36 at
    50. Where the last one would reach the end of a sequence (L below 28, 31 to 34, and 41), which
    the release does not check, windows lie as much earlier as they must to fit and not to overlap.
    """
    width = rules.tenth
    third = min(6 * width + 6, rules.length - 1 - width)
    second = min(3 * width + 3, third - width)
    return (width, second, third), width


TASK = TempOrd
