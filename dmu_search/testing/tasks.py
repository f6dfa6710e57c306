"""What every task must do, whatever it is about."""

import io
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dmu_search.data.loading import load_data
from dmu_search.data.settings import DataSettings
from dmu_search.engine.networks.network import Weights
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks import Task, TaskData, task_class
from dmu_search.names import TASKS
from dmu_search.testing.data import SPLITS
from dmu_search.testing.training import TrainingContract


class TaskContract(TrainingContract):
    """A task of ``dmu_search.names.TASKS``: its batches, loss and metrics, and trainings on it.

    Attributes:
        task: its name.
        data_settings: of which the little data is loaded.
        networks: what is trained on it.
    """

    task: ClassVar[str]
    data_settings: ClassVar[DataSettings] = DataSettings(limit=12)
    networks: ClassVar[tuple[NetworkSettings, ...]] = (
        NetworkSettings("dmu", (5,)),
        NetworkSettings("dmu", (6, 5)),
    )

    def small_data(self) -> TaskData:
        """What the task is made over."""
        return load_data(self.task, self.data_settings).task_data

    def make_task(self, dtype: torch.dtype = torch.float32) -> Task[Any, Any]:
        """The task over ``small_data``."""
        return task_class(self.task)(self.small_data(), dtype=dtype)

    def test_its_row_names_it(self) -> None:
        """The direction of the row is the one that training follows."""
        task = self.make_task()
        assert isinstance(task, task_class(self.task))
        assert task.direction == TASKS[self.task].direction

    def test_data_survives_a_file(self) -> None:
        """As arrays without pickled objects, which give equal arrays back."""
        arrays = self.small_data().to_arrays()
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.seek(0)
        with np.load(file, allow_pickle=False) as loaded:
            again = task_class(self.task).data_type.from_arrays(dict(loaded)).to_arrays()
        assert again.keys() == arrays.keys()
        for name, values in arrays.items():
            assert again[name].dtype == values.dtype, name
            np.testing.assert_array_equal(again[name], values)

    def test_an_epoch_has_as_many_batches_as_it_says(self) -> None:
        """For batch sizes that do and do not divide the data."""
        task = self.make_task()
        for size in (2, 3):
            batches = list(task.train_batches(self._generators(), self._training(size)))
            assert len(batches) == task.batches_per_epoch(size), size

    def test_the_loss_trains_every_weight(self) -> None:
        """Over an epoch: finite, a number per replica, with gradients that are not zero."""
        for settings in self.networks:
            task = self.make_task(torch.float64)
            network = task.network(settings)
            weights = self._weights(task, settings)
            carry, total = None, torch.zeros((), dtype=torch.float64)
            for batch in task.train_batches(self._generators(), self._training(3)):
                loss = task.loss(network, weights, batch=batch, carry=carry)
                assert loss.mean.shape == loss.terms.shape == (2,)
                assert loss.mean.isfinite().all()
                assert loss.terms.min() > 0
                carry = loss.carry
                assert not any(part.requires_grad for state in carry or () for part in state)
                total = total + loss.mean.sum()
            total.backward()  # type: ignore[no-untyped-call]
            for name, weight in weights.items():
                assert weight.grad is not None, name
                assert weight.grad.isfinite().all(), name
                assert weight.grad.abs().flatten(1).sum(dim=1).min() > 0, name

    def test_gradcheck(self) -> None:
        """The loss of a batch by all weights, against differences."""
        task = self.make_task(torch.float64)
        settings = self.networks[-1]
        network, weights = task.network(settings), self._weights(task, settings)
        batch = next(task.train_batches(self._generators(), self._training(2)))

        def mean(*own: Tensor) -> Tensor:
            given = dict(zip(weights, own, strict=True))
            return task.loss(network, given, batch=batch, carry=None).mean

        assert torch.autograd.gradcheck(mean, tuple(weights.values()), fast_mode=True)

    def test_the_objective_is_among_the_metrics(self) -> None:
        """Of every split; metrics are finite, a number per replica, and the same each time."""
        task = self.make_task()
        settings = self.networks[-1]
        network = task.network(settings)
        weights = network.initialise(self._generators(), task.dtype)
        for split in SPLITS:
            with torch.inference_mode():
                metrics, again = (task.evaluate(network, weights, split=split) for _ in range(2))
            assert task.objective in metrics, (split, task.objective)
            for name, values in metrics.items():
                assert values.shape == (2,), (split, name)
                assert values.isfinite().all(), (split, name)
                assert torch.equal(values, again[name]), (split, name)

    def test_same_seed_same_training(self) -> None:
        """Nothing but the seed decides; another seed gives other numbers."""
        network = self.networks[-1]
        first, second, other = (self.trainer(network, seed=seed) for seed in (7, 7, 8))
        for trainer in (first, second, other):
            trainer.run_epoch()
        for name, weight in first.weights.items():
            assert torch.equal(weight, second.weights[name]), name
        assert any(
            not torch.equal(weight, other.weights[name]) for name, weight in first.weights.items()
        )

    def _weights(self, task: Task[Any, Any], settings: NetworkSettings) -> Weights:
        drawn: Weights = task.network(settings).initialise(self._generators(), task.dtype)
        return {name: weight.requires_grad_() for name, weight in drawn.items()}

    def _generators(self) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in range(2)]

    def _training(self, batch_size: int) -> TrainingSettings:
        return replace(self.training, batch_size=batch_size)
