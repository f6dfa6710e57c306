"""NoiseSeq: remember the first symbol of a sequence through noise."""

from typing import ClassVar

import torch
from torch import Tensor

from dmu_search.engine.tasks.generated import GeneratedTask, Sequences, below, class_scores
from dmu_search.names import TASKS, Direction

SYMBOLS = 100
# The last two symbols, x and y, are those to remember.
NOISE_SYMBOLS = SYMBOLS - 2
# Decides the order of the noise symbols where it is fixed. Any order is as hard as another: the
# symbols are one-hot, so it only renames them.
NOISE_SEED = 4_000_000_004


class NoiseSeq(GeneratedTask):
    """A hundred symbols in; at the end the first one out, as one of a hundred classes.

    Neumann et al., "Deep Memory Update", after Hochreiter and Schmidhuber (1997), Section 5.2. The
    first symbol is x or y with equal probability.

    With ``noise=fresh`` (the released code) a sequence has L steps, and those after the first are
    uniform among the 98 other symbols. With ``noise=fixed`` (the paper's text) it has L - 1 steps,
    ``(x or y, a1, .., a98)`` at the paper's length: the other symbols once each, in an order that
    is the same in all sequences and runs. Longer ones go through them again.
    """

    objective: ClassVar[str] = "nll_nats"
    direction: ClassVar[Direction] = TASKS["noiseseq"].direction
    loss_name: ClassVar[str] = "nll_nats"
    input_size: ClassVar[int] = SYMBOLS
    output_size: ClassVar[int] = SYMBOLS

    @property
    def numbers(self) -> int:
        """The first symbol, then the noise where it is fresh."""
        return self.rules.length if self.rules.noise == "fresh" else 1

    def sequences(self, draws: Tensor) -> Sequences:
        """Apply the rules; draws are ``(replica, number, batch)``."""
        first = NOISE_SYMBOLS + below(draws[:, :1], 2)
        if self.rules.noise == "fresh":
            noise = below(draws[:, 1:], NOISE_SYMBOLS)
        else:
            order = fixed_noise(self.rules.length - 2).to(draws.device)
            noise = order[:, None].expand(len(draws), -1, draws.shape[2])
        symbols = torch.cat([first, noise], dim=1)
        targets = symbols[:, 0]
        lengths = torch.full_like(targets, symbols.shape[1])
        return Sequences(inputs=symbols, lengths=lengths, targets=targets)

    @staticmethod
    def scores(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats, and hit or miss, of each sequence."""
        return class_scores(outputs, targets)


def fixed_noise(steps: int) -> Tensor:
    """The noise symbols that every sequence has after its first, ``(step,)``."""
    generator = torch.Generator().manual_seed(NOISE_SEED)
    order = torch.randperm(NOISE_SYMBOLS, generator=generator)
    return order[torch.arange(steps) % NOISE_SYMBOLS]


TASK = NoiseSeq
