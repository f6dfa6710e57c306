"""Training: it learns, keeps the best epoch, and stops by its rules; see also the contracts."""

import dataclasses
import math
from typing import Any

import pytest
import torch

from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks import task_class
from dmu_search.engine.training.optimiser import parameter_groups
from dmu_search.engine.training.trainer import Trainer
from dmu_search.errors import ConfigError, TrialError
from dmu_search.names import MODELS
from dmu_search.testing.training import results, saved_and_loaded
from tests.engine.conftest import small_rules, small_task

SETTINGS = TrainingSettings(
    0.01, weight_decay=1e-4, gamma=0.9, batch_size=3, max_epochs=4, replicas=3, seed=7
)
DMU = NetworkSettings("dmu", (6, 5))
every_model = pytest.mark.parametrize(
    "network",
    [
        pytest.param(
            NetworkSettings(model, (5,) * depth),
            marks=[] if (model, depth) in (("dmu", 2), ("gru", 1)) else [pytest.mark.slow],
        )
        for model in MODELS
        for depth in (1, 2)
    ],
    ids=lambda network: f"{network.model}-{network.depth}",
)


def trainer_of(
    task: str = "polymusic",
    network: NetworkSettings = DMU,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> Trainer:
    settings = dataclasses.replace(SETTINGS, **changes)
    return Trainer(small_task(task, dtype), network, training=settings)


@every_model
def test_learns(network: NetworkSettings) -> None:
    trainer = trainer_of(network=network, max_epochs=60, learning_rate=0.02, gamma=1.0)
    first, *_, last = results(trainer, 60)
    before, after = (result.metrics["running_train_nll_nats"] for result in (first, last))
    # Silence everywhere costs 88 ln 2 = 61 at first; the chords' mean alone is worth far more than
    # a factor of 3.
    assert max(after) < min(before) / 3


@pytest.mark.parametrize(
    ("task", "model", "low"),
    [
        # Always saying the mean costs 0.037, the variance of a target.
        ("adding", "dmu", 0.01),
        # One class of eight costs ln 8 = 2.08; to know two of the three symbols, ln 2 = 0.69.
        ("tempord", "dmu", 0.8),
        ("tempord", "gru", 0.8),
        # One class of a hundred costs ln 100 = 4.6; to know that it is x or y, ln 2 = 0.69.
        ("noiseseq", "dmu", 0.75),
        *(
            pytest.param("noiseseq", model, 0.75, marks=pytest.mark.slow)
            for model in MODELS
            if model != "dmu"
        ),
    ],
)
def test_learns_the_rules_of_a_synthetic_task(task: str, model: str, low: float) -> None:
    rules = small_rules(batches_per_epoch=40, valid_sequences=200)
    network = NetworkSettings(model, (8, 8), z_bias=3.0)
    settings = TrainingSettings(0.02, batch_size=32, max_epochs=4, replicas=2, seed=7)
    trainer = Trainer(task_class(task)(rules), network, training=settings)
    last = results(trainer, 4)[-1]
    assert max(last.metrics[f"best_val_{trainer.task.objective}"]) < low


@pytest.mark.parametrize(
    ("task", "network"),
    [
        ("tempord", NetworkSettings("dmu", (6, 5), z_bias=3.0)),
        ("adding", NetworkSettings("gru", (3, 2))),
        ("polymusic", NetworkSettings("dmu", (6, 5))),
        ("polymusic", NetworkSettings("rhn", (41,))),
        ("natlang", NetworkSettings("lstm", (9,))),
    ],
    ids=lambda value: value if isinstance(value, str) else value.model,
)
def test_a_replica_is_the_solo_run_to_the_bit(task: str, network: NetworkSettings) -> None:
    """By the native loop on one thread: what trains beside it changes no rounding."""
    changes = {"gradient_clipping": "norm", "gradient_clip_norm": 0.1, "max_epochs": 3}
    together = trainer_of(task, network, replicas=19, **changes)
    assert together.backend.name == "native", together.backend
    several = results(together, 3)
    for replica in (0, 11, 18):
        alone = trainer_of(task, network, replicas=1, seed=SETTINGS.seed + replica, **changes)
        for one, all_of_them in zip(results(alone, 3), several, strict=True):
            for name, (value,) in one.metrics.items():
                # Of tunes, its sum runs over as many rows as the longest replica has.
                if task != "polymusic" or name != "running_train_nll_nats":
                    assert all_of_them.metrics[name][replica] == value, (replica, name)
        for name, weight in alone.weights.items():
            assert torch.equal(together.weights[name][replica], weight[0]), (replica, name)


def test_a_snapshot_of_an_earlier_version_goes_on() -> None:
    """Its optimiser has moments in the shapes of the weights."""
    first, second = (trainer_of() for _ in range(2))
    results(first, 2)
    state = first.state_dict()
    moments = state["optimiser"]["state"]
    names = [name for group in parameter_groups(first.network, SETTINGS) for name in group.names]
    for number, name in enumerate(names):
        shape = first.weights[name].shape
        for kind in ("exp_avg", "exp_avg_sq"):
            moments[number][kind] = moments[number][kind][: shape.numel()].view(shape)
    second.load_state_dict(state)
    assert results(second, 2) == results(first, 2)


def test_a_snapshot_neither_changes_nor_is_changed() -> None:
    first, second, third = (trainer_of() for _ in range(3))
    results(first, 1)
    snapshot = first.state_dict()
    expected = results(first, 2)
    second.load_state_dict(snapshot)
    results(second, 2)
    third.load_state_dict(snapshot)
    assert results(third, 2) == expected


def test_an_unknown_clipping() -> None:
    with pytest.raises(ConfigError, match="must be one of off, norm, got 'value'"):
        trainer_of(gradient_clipping="value")


def test_a_replica_that_diverges_in_its_first_epoch_has_no_best() -> None:
    trainer = trainer_of(replicas=2)
    with torch.no_grad():
        trainer.weights["readout_1.bias"][0] = math.nan
    (result,) = results(trainer, 1)
    assert result.best_epoch == (0, 1)
    assert math.isnan(result.metrics["best_val_nll_nats"][0])
    best = trainer.evaluate_best(("test",))
    assert [math.isnan(value) for value in best["test_nll_nats"]] == [True, False]


def test_training_ends_when_all_replicas_have_diverged() -> None:
    trainer = trainer_of()
    with torch.no_grad():
        trainer.weights["readout_1.bias"].fill_(math.nan)
    results(trainer, 1)
    assert trainer.finished


def test_diverged_replicas_stay_so_after_a_resume() -> None:
    trainer, resumed = trainer_of(), trainer_of()
    with torch.no_grad():
        trainer.weights["readout_1.bias"][2] = math.nan
    results(trainer, 1)
    resumed.load_state_dict(saved_and_loaded(trainer))
    assert results(resumed, 1)[0].diverged == (False, False, True)


def test_best_is_the_first_epoch_with_the_lowest_validation_loss() -> None:
    # At this rate the validation loss goes up and down.
    trainer = trainer_of(learning_rate=0.3, gamma=1.0, max_epochs=12)
    run = results(trainer, 12)
    losses = [result.metrics["val_nll_nats"] for result in run]
    for replica in range(3):
        own = [loss[replica] for loss in losses]
        assert run[-1].best_epoch[replica] == own.index(min(own)) + 1
        assert run[-1].metrics["best_val_nll_nats"][replica] == min(own)
    assert min(run[-1].best_epoch) < 12
    best = trainer.evaluate_best()
    assert best["val_nll_nats"] == run[-1].metrics["best_val_nll_nats"]
    assert {name.removesuffix("_batch_mean") for name in best} == {
        "train_nll_nats",
        "val_nll_nats",
        "test_nll_nats",
    }


def test_a_larger_objective_can_be_the_better_one() -> None:
    task = small_task("polymusic")
    task.direction = "maximize"
    trainer = Trainer(
        task, DMU, training=dataclasses.replace(SETTINGS, learning_rate=0.3, gamma=1.0)
    )
    run = results(trainer, 4)
    for replica in range(3):
        own = [result.metrics["val_nll_nats"][replica] for result in run]
        assert run[-1].metrics["best_val_nll_nats"][replica] == max(own)


def test_running_loss_weighs_batches_by_their_steps() -> None:
    """Without learning, it is the loss of the whole split whatever the batches were."""
    trainer = trainer_of(dtype=torch.float64, learning_rate=0.0)
    (result,) = results(trainer, 1)
    whole = trainer.evaluate_best(("train",))["train_nll_nats"]
    # Float64 sums in another order.
    assert result.metrics["running_train_nll_nats"] == pytest.approx(whole, rel=1e-12)


def test_no_epoch_after_the_last() -> None:
    trainer = trainer_of(max_epochs=1)
    assert not trainer.finished
    trainer.run_epoch()
    assert trainer.finished
    with pytest.raises(TrialError, match="finished after epoch 1 of 1"):
        trainer.run_epoch()


def test_checkpoint_of_another_network() -> None:
    state = trainer_of().state_dict()
    with pytest.raises(ConfigError, match=r"readout_1\.bias \(2, 1, 88\)"):
        trainer_of(replicas=2).load_state_dict(state)


class Scripted:
    """A task whose validation losses are written down, ``(epoch, replica)``."""

    objective = loss_name = "mse"
    direction = "minimize"

    def __init__(self, losses: list[list[float]]) -> None:
        self._task = small_task("adding")
        self._losses = iter(losses)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def evaluate(self, *_: Any, split: str, **__: Any) -> dict[str, torch.Tensor]:
        return {"mse": torch.tensor(next(self._losses))}


def scripted_trainer(losses: list[list[float]], **changes: Any) -> Trainer:
    settings = dataclasses.replace(SETTINGS, max_epochs=9, replicas=len(losses[0]), **changes)
    return Trainer(Scripted(losses), DMU, training=settings)


STOP = {"stop_below": 0.1, "stop_patience": 2}
# Replica 0 is done after epoch 4, replica 1 after epoch 6, the first low loss having been alone.
LOSSES = [[0.5, 0.05], [0.2, 0.1], [0.09, 0.7], [0.08, 0.6], [0.01, 0.09], [math.nan, 0.03]]


def test_a_replica_is_done_after_enough_low_epochs_in_a_row() -> None:
    trainer = scripted_trainer(LOSSES, **STOP)
    run = []
    while not trainer.finished:
        run += results(trainer, 1)
    done = [result.done for result in run]
    assert done == [(False, False)] * 3 + [(True, False)] * 2 + [(True, True)]
    assert trainer.epoch == 6 < trainer.training.max_epochs
    with pytest.raises(TrialError, match="finished after epoch 6"):
        trainer.run_epoch()


def test_a_replica_that_is_done_keeps_its_result() -> None:
    """Whatever it would do later: become better, or even diverge."""
    trainer = scripted_trainer(LOSSES, **STOP)
    *_, fourth = results(trainer, 4)
    kept = {name: weight[0] for name, weight in trainer.best_state.items()}
    for later in results(trainer, 2):
        assert later.best_epoch[0] == fourth.best_epoch[0] == 4
        assert later.diverged == (False, False)
        for name, values in later.metrics.items():
            assert values[0] == fourth.metrics[name][0], name
    for name, weight in trainer.best_state.items():
        assert torch.equal(weight[0], kept[name])


def test_replicas_that_are_done_or_have_diverged_end_the_training() -> None:
    trainer = scripted_trainer([[0.05, math.nan], [0.05, 0.05]], **STOP)
    first, second = results(trainer, 2)
    assert (first.diverged, first.done) == ((False, True), (False, False))
    assert (second.diverged, second.done) == ((False, True), (True, False))
    assert trainer.finished


@pytest.mark.parametrize("interrupted_after", range(1, 6))
def test_the_stop_rule_survives_an_interruption(interrupted_after: int) -> None:
    whole = results(scripted_trainer(LOSSES, **STOP), 6)
    first = scripted_trainer(LOSSES[:interrupted_after], **STOP)
    begun = results(first, interrupted_after)
    resumed = scripted_trainer(LOSSES[interrupted_after:], **STOP)
    resumed.load_state_dict(saved_and_loaded(first))
    # As texts, because nan is not equal to itself.
    assert str(begun + results(resumed, 6 - interrupted_after)) == str(whole)
    assert resumed.finished


def test_without_the_rule_training_goes_on() -> None:
    trainer = scripted_trainer([[0.0]] * 9)
    assert all(result.done == (False,) for result in results(trainer, 9))


def test_a_stop_rule_for_an_objective_that_should_grow() -> None:
    task = Scripted([])
    task.direction = "maximize"
    with pytest.raises(ConfigError, match=r"stop_below: mse is to be large.*below 0\.1"):
        Trainer(task, DMU, training=dataclasses.replace(SETTINGS, **STOP))
