"""Training of all replicas of a network as one program, epoch by epoch."""

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dmu_search.engine.kernels.backend import BackendChoice
from dmu_search.engine.networks.network import Weights
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.base import Task
from dmu_search.engine.training.optimiser import GRADIENT_CLIPPINGS, adam
from dmu_search.engine.training.passes import (
    BucketedPass,
    Pass,
    PlainPass,
    Runner,
    default_runner,
    training_backend,
)
from dmu_search.engine.training.step import TrainingStep
from dmu_search.errors import ConfigError, TrialError

# Metrics are named after the split, as `val_nll_nats`.
PREFIXES = {"train": "train", "valid": "val", "test": "test"}


@dataclass(frozen=True)
class EpochResult:
    """What an epoch of training gave; tuples have one entry per replica.

    Attributes:
        epoch: from 1.
        metrics: ``running_train_<loss>``, the mean training loss while the epoch went on;
            ``val_<metric>`` for each of the task's metrics; ``best_val_<objective>`` so far (nan if
            there is none). Those of a diverged replica are nan, except its best; those of a replica
            that is done stay as they were when it became so.
        best_epoch: epoch of the best objective so far, 0 if there was none.
        diverged: whether the replica's loss or weights have become non-finite.
        done: whether the replica has met the rule of ``training.stop_below``.
        wall_time_s: duration of this epoch, evaluation included.
    """

    epoch: int
    metrics: Mapping[str, tuple[float, ...]]
    best_epoch: tuple[int, ...]
    diverged: tuple[bool, ...]
    done: tuple[bool, ...]
    wall_time_s: float


class Trainer:
    """Trains replicas side by side, keeping for each the weights of its best epoch.

    Replica i draws its weights and its data order from a generator seeded ``training.seed + i``,
    and gives what a run of it alone would give: to the bit by the native loop on one thread (but
    for the running training loss of sequences of different lengths), else up to rounding, which
    training magnifies. No operation mixes replicas, so the nan of one that diverged stays in its
    own slice of every tensor.

    A replica that is done by ``training.stop_below`` has its result, as if it had been alone and
    its training had ended there: it is computed along with the others, but neither its best epoch
    nor what is reported of it changes any more, and it cannot diverge.

    Args:
        task: data, loss and metrics.
        network: what to train.
        training: how to.
        runner: how to repeat steps in the buckets of a task that has them; None leaves the choice
            to the backend in use.

    Raises:
        ConfigError: if a setting names something that does not exist, or the task has no objective
            that could fall below ``training.stop_below``.
    """

    def __init__(
        self,
        task: Task[Any, Any],
        network: NetworkSettings,
        *,
        training: TrainingSettings,
        runner: Runner | None = None,
    ) -> None:
        _check_stop_rule(task, training)
        _check_clipping(training)
        self.task = task
        self._network_settings = network
        self.network = task.network(network)
        self.training = training
        self.epoch = 0
        self._generators = [
            torch.Generator().manual_seed(training.seed + replica)
            for replica in range(training.replicas)
        ]
        drawn = self.network.initialise(self._generators, task.dtype)
        self.weights: Weights = {
            name: weight.to(task.device).requires_grad_() for name, weight in drawn.items()
        }
        self._runner = runner or default_runner(task)
        self._optimiser = adam(
            self.weights, self.network, settings=training, recordable=self._runner is not None
        )
        self._pass = self._make_pass()
        self._best_weights = {
            name: weight.detach().clone() for name, weight in self.weights.items()
        }
        self._best_objective = torch.full((training.replicas,), math.nan, dtype=torch.float64)
        self._best_epoch = torch.zeros(training.replicas, dtype=torch.int64)
        self._diverged = torch.zeros(training.replicas, dtype=torch.bool)
        self._epochs_below = torch.zeros(training.replicas, dtype=torch.int64)
        self._reported: dict[str, Tensor] = {}

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or no replica is left to train."""
        over = self._diverged | self._done
        return self.epoch >= self.training.max_epochs or bool(over.all())

    @property
    def _done(self) -> Tensor:
        """Which replicas have met the stop rule; their count of epochs no longer changes."""
        return self._epochs_below >= self.training.stop_patience

    @property
    def standing(self) -> EpochResult:
        """How the replicas stand after the last epoch."""
        return self._result(wall_time_s=0.0)

    @property
    def backend(self) -> BackendChoice:
        """What the training runs on, and why."""
        if self.problem is not None:
            return BackendChoice("reference", self.problem)
        return training_backend(
            type(self.task), self.task.device, dtype=self.task.dtype, network=self._network_settings
        )

    @property
    def problem(self) -> str | None:
        """Why training does not run on the chosen backend, in a sentence; None if it does."""
        return self._pass.problem

    @property
    def best_state(self) -> Weights:
        """Weights of each replica's best epoch (its first ones if it has none), on the CPU."""
        return {name: weight.cpu().clone() for name, weight in self._best_weights.items()}

    @property
    def best_weights(self) -> Weights:
        """Weights of each replica's best epoch, where they are trained; for reading only."""
        return self._best_weights

    @property
    def _best_name(self) -> str:
        return f"best_val_{self.task.objective}"

    def run_epoch(self) -> EpochResult:
        """Train all replicas for one epoch and evaluate them on the validation split.

        Raises:
            TrialError: if training is finished.
        """
        if self.finished:
            raise TrialError(
                f"training is finished after epoch {self.epoch} of {self.training.max_epochs}; "
                "raise training.max_epochs to train longer"
            )
        started = time.perf_counter()
        train_loss = self._pass(self._generators)
        validation = self._evaluate(self.weights, "valid")
        self.epoch += 1
        objective = validation[f"{PREFIXES['valid']}_{self.task.objective}"]
        finite = train_loss.isfinite() & objective.isfinite() & self._weights_finite()
        in_training = ~(self._diverged | self._done)
        self._report(
            {f"running_train_{self.task.loss_name}": train_loss} | validation, among=in_training
        )
        self._diverged |= in_training & ~finite
        in_training &= finite
        self._keep_best(objective, among=in_training)
        self._count_epochs_below(objective, among=in_training)
        self._optimiser.decay_learning_rates(self.training.gamma)
        return self._result(wall_time_s=time.perf_counter() - started)

    def seconds_per_epoch(self, budget_s: float) -> float:
        """About how long an epoch of training takes, from as many batches as the budget allows.

        Batch by batch as they come, after two that build and warm up what later ones find ready,
        and of the others no fewer than three; recorded steps are faster. The trainer is of no use
        afterwards.
        """
        step = TrainingStep.of(
            self.task,
            self.network,
            weights=self.weights,
            optimiser=self._optimiser,
            training=self.training,
        )
        durations: list[float] = []
        carry = None
        for batch in self.task.train_batches(self._generators, self.training):
            began = time.perf_counter()
            carry = step(batch, carry)
            durations.append(time.perf_counter() - began)
            if sum(durations[2:]) > budget_s and len(durations) >= 5:
                break
        later = durations[2:] or durations
        per_batch = sum(later) / len(later)
        return per_batch * self.task.batches_per_epoch(self.training.batch_size)

    def _make_pass(self) -> Pass:
        step = TrainingStep.of(
            self.task,
            self.network,
            weights=self.weights,
            optimiser=self._optimiser,
            training=self.training,
        )
        return PlainPass(step) if self._runner is None else BucketedPass(step, self._runner)

    def _evaluate(self, weights: Mapping[str, Tensor], split: str) -> dict[str, Tensor]:
        with torch.inference_mode():
            metrics = self.task.evaluate(self.network, weights, split=split)
        # Clones are ordinary tensors; those made in inference mode could not be saved and changed.
        return {
            f"{PREFIXES[split]}_{name}": values.double().cpu().clone()
            for name, values in metrics.items()
        }

    def _weights_finite(self) -> Tensor:
        finite = [
            weight.detach().flatten(1).isfinite().all(dim=1) for weight in self.weights.values()
        ]
        return torch.stack(finite).all(dim=0).cpu()

    def _report(self, metrics: Mapping[str, Tensor], *, among: Tensor) -> None:
        """Replace what is reported of the replicas ``among``."""
        self._reported = {
            name: values.where(among, self._reported.get(name, values))
            for name, values in metrics.items()
        }

    def _count_epochs_below(self, objective: Tensor, *, among: Tensor) -> None:
        """Extend, or break, the row of epochs that the stop rule asks for."""
        if self.training.stop_below is not None:
            row = (self._epochs_below + 1).where(objective < self.training.stop_below, 0)
            self._epochs_below = row.where(among, self._epochs_below)

    def _keep_best(self, objective: Tensor, *, among: Tensor) -> None:
        """Remember the weights of replicas that are better than ever; ties keep the earlier."""
        if self.task.direction == "minimize":
            better = objective < self._best_objective
        else:
            better = objective > self._best_objective
        better = (better | self._best_objective.isnan()) & among
        self._best_objective[better] = objective[better]
        self._best_epoch[better] = self.epoch
        for name, weight in self.weights.items():
            chosen = better.to(weight.device)
            self._best_weights[name][chosen] = weight.detach()[chosen]

    def _result(self, *, wall_time_s: float) -> EpochResult:
        masked = {
            name: values.where(~self._diverged, math.nan) for name, values in self._reported.items()
        }
        masked[self._best_name] = self._best_objective
        return EpochResult(
            epoch=self.epoch,
            metrics={name: tuple(values.tolist()) for name, values in masked.items()},
            best_epoch=tuple(self._best_epoch.tolist()),
            diverged=tuple(self._diverged.tolist()),
            done=tuple(self._done.tolist()),
            wall_time_s=wall_time_s,
        )

    def evaluate_best(
        self, splits: Sequence[str] = ("train", "valid", "test")
    ) -> dict[str, tuple[float, ...]]:
        """Metrics of each replica at the epoch of its best objective.

        Args:
            splits: which to evaluate.

        Returns:
            ``train_<metric>``, ``val_<metric>`` and ``test_<metric>``, one entry per replica; nan
            for a replica that never had a finite epoch.
        """
        metrics: dict[str, Tensor] = {}
        for split in splits:
            metrics |= self._evaluate(self._best_weights, split)
        trained = self._best_epoch > 0
        return {
            name: tuple(values.where(trained, math.nan).tolist())
            for name, values in metrics.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Snapshot of all that the rest of the training depends on.

        It holds tensors, numbers and plain containers, for ``torch.load(weights_only=True)``.
        """
        return copy.deepcopy(
            {
                "epoch": self.epoch,
                "weights": {name: weight.detach() for name, weight in self.weights.items()},
                "optimiser": self._optimiser.state_dict(),
                "generators": [generator.get_state() for generator in self._generators],
                "best_weights": self._best_weights,
                "best_objective": self._best_objective,
                "best_epoch": self._best_epoch,
                "diverged": self._diverged,
                "epochs_below": self._epochs_below,
                "reported": self._reported,
            }
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a snapshot, exactly as the trainer that made it would have.

        Args:
            state: made by ``state_dict`` of a trainer with the same task and settings, apart from
                ``max_epochs``. It is not changed, nor held on to.

        Raises:
            ConfigError: if the snapshot is of another network or number of replicas.
        """
        state = copy.deepcopy(dict(state))
        self._check_fits(state["weights"])
        for name, weight in self.weights.items():
            weight.detach().copy_(state["weights"][name])
            self._best_weights[name].copy_(state["best_weights"][name])
        self._optimiser.load_state_dict(state["optimiser"])
        self._pass = self._make_pass()
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())
        self.epoch = state["epoch"]
        self._best_objective = state["best_objective"].cpu()
        self._best_epoch = state["best_epoch"].cpu()
        self._diverged = state["diverged"].cpu()
        self._epochs_below = state["epochs_below"].cpu()
        self._reported = {name: values.cpu() for name, values in state["reported"].items()}

    def _check_fits(self, saved: Mapping[str, Tensor]) -> None:
        own_shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        saved_shapes = {name: tuple(weight.shape) for name, weight in saved.items()}
        if own_shapes != saved_shapes:
            different = sorted(set(own_shapes.items()) ^ set(saved_shapes.items()))
            raise ConfigError(
                "the checkpoint is of another network or number of replicas: shapes differ in "
                f"{', '.join(f'{name} {shape}' for name, shape in different)}; "
                "resume with the settings that it was written with"
            )


def _check_stop_rule(task: Task[Any, Any], training: TrainingSettings) -> None:
    if training.stop_below is not None and task.direction != "minimize":
        raise ConfigError(
            f"training.stop_below: {task.objective} is to be large, so falling below "
            f"{training.stop_below:g} is no success; use null"
        )


def _check_clipping(training: TrainingSettings) -> None:
    if training.gradient_clipping not in GRADIENT_CLIPPINGS:
        raise ConfigError(
            f"training.gradient_clipping: must be one of {', '.join(GRADIENT_CLIPPINGS)}, "
            f"got {training.gradient_clipping!r}"
        )
