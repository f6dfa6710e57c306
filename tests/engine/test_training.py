"""Training: it learns, resumes exactly, and keeps replicas apart."""

import dataclasses
import io
import math
from typing import Any

import pytest
import torch

from dmu_search.engine.cells import MODELS
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks import PianoRolls, PolyMusic
from dmu_search.engine.training import EpochResult, Trainer
from dmu_search.errors import ConfigError, TrialError

SETTINGS = TrainingSettings(
    0.01, weight_decay=1e-4, gamma=0.9, batch_size=3, max_epochs=4, replicas=3, seed=7
)
DMU = NetworkSettings("dmu", (6, 5))
every_model = pytest.mark.parametrize(
    "network",
    [NetworkSettings(model, (5,) * depth) for model in MODELS for depth in (1, 2)],
    ids=lambda network: f"{network.model}-{network.depth}",
)


def trainer_of(
    rolls: PianoRolls,
    network: NetworkSettings = DMU,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> Trainer:
    settings = dataclasses.replace(SETTINGS, **changes)
    return Trainer(PolyMusic(rolls, dtype=dtype), network, settings)


def results(trainer: Trainer, epochs: int) -> list[EpochResult]:
    """Results of the next epochs, without the only field that no seed decides."""
    return [dataclasses.replace(trainer.run_epoch(), wall_time_s=0.0) for _ in range(epochs)]


def saved_and_loaded(trainer: Trainer) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(trainer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every_model
def test_learns(rolls: PianoRolls, network: NetworkSettings) -> None:
    trainer = trainer_of(rolls, network, max_epochs=60, learning_rate=0.02, gamma=1.0)
    first, *_, last = results(trainer, 60)
    before, after = (result.metrics["running_train_nll_nats"] for result in (first, last))
    # Silence everywhere costs 88 ln 2 = 61 at first; the chords' mean alone is worth far more than
    # a factor of 3.
    assert max(after) < min(before) / 3


@every_model
def test_resumed_is_uninterrupted_bit_for_bit(rolls: PianoRolls, network: NetworkSettings) -> None:
    whole = trainer_of(rolls, network)
    expected = results(whole, 4)

    interrupted = trainer_of(rolls, network)
    begun = results(interrupted, 2)
    resumed = trainer_of(rolls, network, seed=99)
    resumed.load_state_dict(saved_and_loaded(interrupted))
    assert begun + results(resumed, 2) == expected
    for name, weight in whole.weights.items():
        assert torch.equal(resumed.weights[name], weight), name
        assert torch.equal(resumed.best_state[name], whole.best_state[name]), name
    assert resumed.evaluate_best() == whole.evaluate_best()


def test_a_snapshot_neither_changes_nor_is_changed(rolls: PianoRolls) -> None:
    first, second, third = (trainer_of(rolls) for _ in range(3))
    results(first, 1)
    snapshot = first.state_dict()
    expected = results(first, 2)
    second.load_state_dict(snapshot)
    results(second, 2)
    third.load_state_dict(snapshot)
    assert results(third, 2) == expected


@pytest.mark.parametrize("model", MODELS)
def test_replica_i_is_the_solo_run_with_seed_plus_i(rolls: PianoRolls, model: str) -> None:
    network = NetworkSettings(model, (5, 5))
    together = trainer_of(rolls, network, torch.float64)
    last = results(together, 4)[-1]
    best = together.evaluate_best()
    for replica in range(3):
        solo = trainer_of(rolls, network, torch.float64, replicas=1, seed=7 + replica)
        solo_last = results(solo, 4)[-1]
        # Float64 rounding, which Adam's division by small gradients can amplify early on.
        for name, values in solo_last.metrics.items():
            assert last.metrics[name][replica] == pytest.approx(values[0], rel=1e-8), name
        for name, values in solo.evaluate_best().items():
            assert best[name][replica] == pytest.approx(values[0], rel=1e-8), name
        assert last.best_epoch[replica] == solo_last.best_epoch[0]


@pytest.mark.parametrize(
    ("where", "bad"),
    [
        ("recurrent", math.nan),
        ("recurrent", math.inf),
        ("readout", math.nan),
        ("readout", math.inf),
        ("readout", 3e38),  # finite, but its loss is not
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_a_diverging_replica_disturbs_no_other(
    rolls: PianoRolls, model: str, where: str, bad: float
) -> None:
    network = NetworkSettings(model, (5,))
    healthy, hurt = trainer_of(rolls, network), trainer_of(rolls, network)
    results(healthy, 1), results(hurt, 1)
    with torch.no_grad():
        names = hurt.network.recurrent_weights if where == "recurrent" else ["readout_1.weight"]
        for name in names:
            hurt.weights[name][1] = bad
    for expected, got in zip(results(healthy, 3), results(hurt, 3), strict=True):
        assert got.diverged == (False, True, False)
        assert got.best_epoch[1] == 1
        for name, values in got.metrics.items():
            for replica in (0, 2):
                assert values[replica] == expected.metrics[name][replica], name
            assert math.isnan(values[1]) == (name != "best_val_nll_nats"), name
    for name, weight in healthy.weights.items():
        assert torch.equal(hurt.weights[name][[0, 2]], weight[[0, 2]]), name
    assert all(math.isfinite(value) for value in hurt.evaluate_best()["test_nll_nats"])


def test_a_replica_that_diverges_in_its_first_epoch_has_no_best(rolls: PianoRolls) -> None:
    trainer = trainer_of(rolls, replicas=2)
    with torch.no_grad():
        trainer.weights["readout_1.bias"][0] = math.nan
    (result,) = results(trainer, 1)
    assert result.best_epoch == (0, 1)
    assert math.isnan(result.metrics["best_val_nll_nats"][0])
    best = trainer.evaluate_best(("test",))
    assert [math.isnan(value) for value in best["test_nll_nats"]] == [True, False]


def test_training_ends_when_all_replicas_have_diverged(rolls: PianoRolls) -> None:
    trainer = trainer_of(rolls)
    with torch.no_grad():
        trainer.weights["readout_1.bias"].fill_(math.nan)
    results(trainer, 1)
    assert trainer.finished


def test_diverged_replicas_stay_so_after_a_resume(rolls: PianoRolls) -> None:
    trainer, resumed = trainer_of(rolls), trainer_of(rolls)
    with torch.no_grad():
        trainer.weights["readout_1.bias"][2] = math.nan
    results(trainer, 1)
    resumed.load_state_dict(saved_and_loaded(trainer))
    assert results(resumed, 1)[0].diverged == (False, False, True)


def test_best_is_the_first_epoch_with_the_lowest_validation_loss(rolls: PianoRolls) -> None:
    # At this rate the validation loss goes up and down.
    trainer = trainer_of(rolls, learning_rate=0.3, gamma=1.0, max_epochs=12)
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


def test_a_larger_objective_can_be_the_better_one(rolls: PianoRolls) -> None:
    task = PolyMusic(rolls)
    task.direction = "maximize"
    trainer = Trainer(task, DMU, dataclasses.replace(SETTINGS, learning_rate=0.3, gamma=1.0))
    run = results(trainer, 4)
    for replica in range(3):
        own = [result.metrics["val_nll_nats"][replica] for result in run]
        assert run[-1].metrics["best_val_nll_nats"][replica] == max(own)


def test_running_loss_weighs_batches_by_their_steps(rolls: PianoRolls) -> None:
    """Without learning, it is the loss of the whole split whatever the batches were."""
    trainer = trainer_of(rolls, dtype=torch.float64, learning_rate=0.0)
    (result,) = results(trainer, 1)
    whole = trainer.evaluate_best(("train",))["train_nll_nats"]
    # Float64 sums in another order.
    assert result.metrics["running_train_nll_nats"] == pytest.approx(whole, rel=1e-12)


def test_no_epoch_after_the_last(rolls: PianoRolls) -> None:
    trainer = trainer_of(rolls, max_epochs=1)
    assert not trainer.finished
    trainer.run_epoch()
    assert trainer.finished
    with pytest.raises(TrialError, match="finished after epoch 1 of 1"):
        trainer.run_epoch()


def test_checkpoint_of_another_network(rolls: PianoRolls) -> None:
    state = trainer_of(rolls).state_dict()
    with pytest.raises(ConfigError, match=r"readout_1\.bias \(2, 1, 88\)"):
        trainer_of(rolls, replicas=2).load_state_dict(state)
