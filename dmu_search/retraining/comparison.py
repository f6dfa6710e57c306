"""Which of two results of a search is the better one: the only rule for what is best."""

from dataclasses import dataclass

from dmu_search.names import Direction, signed_loss


@dataclass(frozen=True)
class Result:
    """The result by which a study chose a setting.

    Attributes:
        objective: its value.
        rule: ``search.objective``, over the replicas of a trial.
        replicas: of the trial.
        epochs: of the trial, at most.
        data: name of the data.
        data_sha256: hash of it.
        mean: over fresh seeds; None where none confirmed it.
    """

    objective: float
    rule: str
    replicas: int
    epochs: int
    data: str
    data_sha256: str
    mean: float | None = None


def why_not_better(new: Result, old: Result, *, direction: Direction) -> str | None:
    """Why ``new`` does not take the place of ``old``; None where it is better.

    A better result is a better one on the same data after at least as many epochs. Two results
    that fresh seeds confirmed are compared by their means. Others are compared by what the searches
    saw: a search's own result is a lucky one, and no match for a mean. These are by one rule,
    unless both are of a single replica, of which every rule gives the same.

    Args:
        new: the result that would take the place.
        old: the result that has it.
        direction: whether a small or a large objective is good.

    Returns:
        What speaks for ``old``, as in ``had 10 epochs, more than 9``.
    """
    if new.data_sha256 != old.data_sha256:
        return f"was found on other data ({old.data}); move it away first"
    if new.epochs < old.epochs:
        return f"had {old.epochs} epochs, more than {new.epochs}"
    if new.mean is not None and old.mean is not None:
        if signed_loss(new.mean, direction) >= signed_loss(old.mean, direction):
            return f"has {old.mean:.4g} over fresh seeds, at least as good"
        return None
    if new.rule != old.rule and not new.replicas == old.replicas == 1:
        return f"was chosen by {old.rule}; move it away first"
    if signed_loss(new.objective, direction) >= signed_loss(old.objective, direction):
        return f"has {old.objective:.4g}, at least as good"
    return None
