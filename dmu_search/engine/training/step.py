"""One training step of all replicas, as every way to train does it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dmu_search.engine.networks.cells import State
from dmu_search.engine.networks.network import Architecture
from dmu_search.engine.settings import TrainingSettings
from dmu_search.engine.tasks.base import Task
from dmu_search.engine.training.adam import Adam
from dmu_search.engine.training.optimiser import clip_gradients


@dataclass(frozen=True, eq=False)
class TrainingStep:
    """Loss, gradients, clipping and Adam; losses add up on the device.

    Nothing in it waits for the device or depends on a value there, so it can be recorded.

    Attributes:
        task: whose loss falls.
        network: what is trained.
        weights: of the network; they change in place.
        optimiser: over the weights; its state changes in place.
        training: how to train.
        total: sum so far of the losses times their terms, ``(replica,)``.
        terms: number of those terms, ``(replica,)``.
    """

    task: Task[Any, Any]
    network: Architecture
    weights: Mapping[str, Tensor]
    optimiser: Adam
    training: TrainingSettings
    total: Tensor
    terms: Tensor

    @classmethod
    def of(
        cls,
        task: Task[Any, Any],
        network: Architecture,
        *,
        weights: Mapping[str, Tensor],
        optimiser: Adam,
        training: TrainingSettings,
    ) -> "TrainingStep":
        """A step with nothing added up yet."""
        zeros = torch.zeros(2, training.replicas, dtype=torch.float64, device=task.device)
        return cls(task, network, weights, optimiser, training, *zeros)

    def __call__(
        self, batch: Any, carry: tuple[State, ...] | None = None
    ) -> tuple[State, ...] | None:
        """Train on a batch; returns what the next one goes on from."""
        self.optimiser.zero_grad()
        loss = self.task.loss(self.network, self.weights, batch=batch, carry=carry)
        # The sum gives every replica the gradient of its own mean.
        torch.autograd.backward(loss.mean.sum())
        if self.training.gradient_clipping == "norm":
            clip_gradients(self.weights, self.training.gradient_clip_norm)
        self.optimiser.step()
        self.total.add_(loss.mean.detach() * loss.terms)
        self.terms.add_(loss.terms)
        return loss.carry

    def take_mean(self) -> Tensor:
        """Mean loss since the last call, ``(replica,)`` on the CPU."""
        mean = (self.total / self.terms).cpu()
        self.total.zero_()
        self.terms.zero_()
        return mean

    def state(self) -> list[Tensor]:
        """All that a call changes."""
        return [*self.weights.values(), self.total, self.terms, *self.optimiser.state()]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Undo, in place, what calls in a ``with`` block do."""
        before = [tensor.detach().clone() for tensor in self.state()]
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in zip(self.state(), before, strict=True):
                    tensor.copy_(value)
