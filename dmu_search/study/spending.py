"""What a search spent, and when it last found something better: a fold over its journal."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from dmu_search.names import Direction, signed_loss
from dmu_search.study.journal import Event


@dataclass(frozen=True)
class Spending:
    """Epochs of all trials, in the order in which they were reported.

    Attributes:
        epochs: trained in all; those that a resume repeated count once.
        improved_at: of these, at the last improvement of the best objective.
        trial: whose result that was; None before any.
        loss: the best so far, signed so that small is good.
    """

    epochs: int = 0
    improved_at: int = 0
    trial: int | None = None
    loss: float = math.inf

    @classmethod
    def of(cls, events: Iterable[Event], *, direction: Direction) -> "Spending":
        """After these events."""
        spent = cls()
        for event in events:
            spent = spent.after(event, direction)
        return spent

    def after(self, event: Event, direction: Direction) -> "Spending":
        """After one more event."""
        if event["event"] != "result":
            return self
        epochs, objective = self.epochs + 1, event["objective"]
        loss = math.inf if objective is None else signed_loss(objective, direction)
        if loss < self.loss:
            return Spending(epochs, epochs, event["trial"], loss)
        return Spending(epochs, self.improved_at, self.trial, self.loss)

    def in_words(self, max_epochs: int) -> str:
        """As in ``120 epochs (2.4 whole trainings), the last improvement after 96 by trial 7``."""
        words = f"{self.epochs} epochs ({self.epochs / max_epochs:.3g} whole trainings)"
        if self.trial is None:
            return words
        return f"{words}, the last improvement after {self.improved_at} by trial {self.trial}"
