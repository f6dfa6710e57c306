"""What a training of any network on any task must do: resume exactly, and keep replicas apart."""

import io
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks import Task
from dmu_search.engine.training.trainer import EpochResult, Trainer

# Float64 rounding, which Adam's division by small gradients can amplify early on.
_TOLERANCE = 1e-8


class TrainingContract(ABC):
    """Trainings of ``networks`` on a task with little data; subclasses say which.

    Attributes:
        networks: what is trained.
        training: how; its three replicas are compared with each other.
        faults: weights, ``recurrent`` or ``readout``, and a value that makes a replica diverge.
    """

    networks: ClassVar[tuple[NetworkSettings, ...]]
    training: ClassVar[TrainingSettings] = TrainingSettings(
        0.01, weight_decay=1e-4, gamma=0.9, batch_size=3, max_epochs=4, replicas=3, seed=7
    )
    faults: ClassVar[tuple[tuple[str, float], ...]] = (
        ("recurrent", math.nan),
        ("recurrent", math.inf),
        ("readout", math.nan),
        ("readout", math.inf),
    )

    @abstractmethod
    def make_task(self, dtype: torch.dtype = torch.float32) -> Task[Any, Any]:
        """The task, over little data; a new one at each call."""

    def trainer(
        self, network: NetworkSettings, dtype: torch.dtype = torch.float32, **changes: Any
    ) -> Trainer:
        """A new training, with some settings changed."""
        return Trainer(self.make_task(dtype), network, training=replace(self.training, **changes))

    def test_resumed_is_uninterrupted_bit_for_bit(self) -> None:
        """A checkpoint holds everything: results and weights are those of one training."""
        for network in self.networks:
            whole, interrupted = self.trainer(network), self.trainer(network)
            expected, begun = results(whole, 4), results(interrupted, 2)
            resumed = self.trainer(network, seed=99)
            resumed.load_state_dict(saved_and_loaded(interrupted))
            assert begun + results(resumed, 2) == expected, network
            for name, weight in whole.weights.items():
                assert torch.equal(resumed.weights[name], weight), (network, name)
                assert torch.equal(resumed.best_state[name], whole.best_state[name]), name
            assert resumed.evaluate_best() == whole.evaluate_best(), network

    def test_replica_i_is_the_solo_run_with_seed_plus_i(self) -> None:
        """Replicas share a program, nothing else."""
        network = self.networks[-1]
        together = self.trainer(network, torch.float64)
        last, best = results(together, 4)[-1], together.evaluate_best()
        for replica in range(self.training.replicas):
            seed = self.training.seed + replica
            solo = self.trainer(network, torch.float64, replicas=1, seed=seed)
            own = results(solo, 4)[-1]
            for name, values in own.metrics.items():
                assert close(last.metrics[name][replica], values[0]), (name, replica)
            for name, values in solo.evaluate_best().items():
                assert close(best[name][replica], values[0]), (name, replica)
            assert last.best_epoch[replica] == own.best_epoch[0]

    def test_clipping_keeps_replicas_apart(self) -> None:
        """Each is clipped by its own norm: alone, with others, or beside a nan."""
        network = self.networks[-1]
        clipped: dict[str, Any] = {"gradient_clipping": "norm", "gradient_clip_norm": 0.01}
        together, hurt = (self.trainer(network, torch.float64, **clipped) for _ in range(2))
        (bias,) = _readouts(hurt, "bias")
        with torch.no_grad():
            hurt.weights[bias][1] = math.nan
        results(together, 2), results(hurt, 2)
        for replica in (0, 2):
            own = {"replicas": 1, "seed": self.training.seed + replica}
            solo = self.trainer(network, torch.float64, **own, **clipped)
            free = self.trainer(network, torch.float64, **own)
            results(solo, 2), results(free, 2)
            for name, weight in together.weights.items():
                assert torch.equal(hurt.weights[name][replica], weight[replica]), name
                torch.testing.assert_close(
                    weight[replica], solo.weights[name][0], rtol=_TOLERANCE, atol=1e-10
                )
            assert not torch.equal(solo.weights[bias], free.weights[bias]), "nothing was clipped"

    def test_a_diverging_replica_disturbs_no_other(self) -> None:
        """Its metrics become nan but for its best; the others' stay equal in every bit."""
        for where, bad in self.faults:
            self._check_divergence(where, bad)

    def _check_divergence(self, where: str, bad: float) -> None:
        healthy, hurt = (self.trainer(self.networks[0]) for _ in range(2))
        results(healthy, 1), results(hurt, 1)
        recurrent = where == "recurrent"
        names = hurt.network.recurrent_weights if recurrent else _readouts(hurt, "weight")
        with torch.no_grad():
            for name in names:
                hurt.weights[name][1] = bad
        objective = hurt.task.objective
        for expected, got in zip(results(healthy, 3), results(hurt, 3), strict=True):
            assert got.diverged == (False, True, False), (where, bad)
            assert got.best_epoch[1] == 1
            for name, values in got.metrics.items():
                assert values[::2] == expected.metrics[name][::2], (where, bad, name)
                assert math.isnan(values[1]) == (name != f"best_val_{objective}"), name
        for name, weight in healthy.weights.items():
            assert torch.equal(hurt.weights[name][[0, 2]], weight[[0, 2]]), (where, bad, name)
        assert all(map(math.isfinite, hurt.evaluate_best()[f"test_{objective}"])), (where, bad)


def results(trainer: Trainer, epochs: int) -> list[EpochResult]:
    """Results of the next epochs, without the only field that no seed decides."""
    return [replace(trainer.run_epoch(), wall_time_s=0.0) for _ in range(epochs)]


def saved_and_loaded(trainer: Trainer) -> dict[str, Any]:
    """A checkpoint as a file gives it back."""
    file = io.BytesIO()
    torch.save(trainer.state_dict(), file)
    file.seek(0)
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def close(one: float, other: float) -> bool:
    """Whether two results of a training in float64 differ by rounding only; nan equals nan."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=1e-12)


def _readouts(trainer: Trainer, kind: str) -> Sequence[str]:
    """The first dense layer after each recurrent block, by its weight or bias."""
    return [name for name in trainer.weights if name.endswith(f"readout_1.{kind}")]
