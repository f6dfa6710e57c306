"""What one comparison of a claim gave, whichever result of the paper the claim is about."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One comparison.

    Attributes:
        words: the numbers.
        as_claimed: whether they go the way of the claim; None where runs are missing.
        p: how likely that is by chance.
        favours: the model that is better than the claim has it, where they go the other way.
        undecided: what to say where neither way is shown.
        silent: whether it says nothing either way: no run of either reached the threshold.
        details: the numbers of its parts.
    """

    words: str
    as_claimed: bool | None = None
    p: float = 1.0
    favours: str = ""
    undecided: str = "no difference seen"
    silent: bool = False
    details: tuple[str, ...] = ()

    @property
    def tested(self) -> bool:
        """Whether there are runs to decide it by."""
        return self.as_claimed is not None and not self.silent


def p_text(p: float) -> str:
    """A p value: ``p = 0.012`` or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
