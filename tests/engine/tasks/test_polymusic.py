"""PolyMusic's batches, loss and averages."""

import numpy as np
import pytest
import torch

from dmu_search.engine.kernels.rows import length_sorted_batches
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks import polymusic as module
from dmu_search.engine.tasks.polymusic import PianoRolls, PolyMusic
from dmu_search.errors import DataError
from tests.engine.conftest import batches_of, random_rolls

SETTINGS = NetworkSettings("gru", (4,))


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(count)]


def step_losses(task: PolyMusic, weights: dict[str, torch.Tensor], roll: np.ndarray) -> np.ndarray:
    """Loss of each step of one tune by the formula, ``(replica, time)``."""
    network = task.network(SETTINGS)
    replicas = len(weights["readout_1.bias"])
    rows = module.PackedRows(np.full((replicas, 1), len(roll) - 1), torch.device("cpu"))
    x = torch.from_numpy(roll[:-1]).double().expand(replicas, -1, -1)
    logits, _ = network.forward(weights, x, rows=rows)
    p = 1 / (1 + np.exp(-logits.numpy()))
    y = roll[1:]
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=-1)


def test_an_epoch_holds_every_tune_once_in_each_replicas_own_order(rolls: PianoRolls) -> None:
    task = PolyMusic(rolls)
    batches = list(task.train_batches(generators(3), batches_of(3)))
    assert [batch.rows.lengths.shape for batch in batches] == [(3, 3), (3, 3), (3, 1)]
    orders = np.concatenate([batch.rows.lengths for batch in batches], axis=1)
    for order in orders:
        assert sorted(order) == sorted(len(roll) - 1 for roll in rolls.train)
    assert not np.array_equal(orders[0], orders[1])


def test_targets_are_the_next_inputs(rolls: PianoRolls) -> None:
    (batch,) = PolyMusic(rolls).train_batches(generators(2), batches_of(7))
    by_length = {len(roll) - 1: roll for roll in rolls.train}  # all lengths differ
    for replica, sequence in np.ndindex(2, 7):
        mine = (batch.rows.sequence[replica] == sequence) & batch.rows.valid[replica]
        roll = by_length[batch.rows.lengths[replica, sequence]]
        assert np.array_equal(batch.inputs[replica, mine].numpy(), roll[:-1])
        assert np.array_equal(batch.targets[replica, mine].numpy(), roll[1:])


def test_training_loss_is_the_mean_over_real_steps(rolls: PianoRolls) -> None:
    task = PolyMusic(rolls, dtype=torch.float64)
    network = task.network(SETTINGS)
    weights = network.initialise(generators(2), torch.float64)
    batch = next(task.train_batches(generators(2), batches_of(3)))
    loss = task.loss(network, weights, batch=batch, carry=None)
    by_length = {len(roll) - 1: roll for roll in rolls.train}
    for replica, lengths in enumerate(batch.rows.lengths):
        steps = [step_losses(task, weights, by_length[length])[replica] for length in lengths]
        # Float64 on both sides; log(p) by hand loses a few digits more than logits do.
        assert loss.mean[replica].item() == pytest.approx(np.concatenate(steps).mean(), rel=1e-10)
        assert loss.terms[replica].item() == sum(lengths)


@pytest.mark.parametrize("rows_at_a_time", [1, 50, 2**15])
def test_both_averages_by_hand(monkeypatch: pytest.MonkeyPatch, rows_at_a_time: int) -> None:
    monkeypatch.setattr(module, "EVALUATION_ROWS", rows_at_a_time)
    monkeypatch.setattr(module, "RELEASED_BATCH", 2)
    tunes = random_rolls([9, 3, 6, 14, 4], seed=0)
    task = PolyMusic(PianoRolls(train=tunes, valid=tunes, test=tunes), dtype=torch.float64)
    weights = task.network(SETTINGS).initialise(generators(2), torch.float64)
    metrics = task.evaluate(task.network(SETTINGS), weights, split="valid")

    losses = [step_losses(task, weights, roll) for roll in tunes]
    all_steps = np.concatenate(losses, axis=1).mean(axis=1)
    batches = (losses[:2], losses[2:4], losses[4:])
    means = [np.concatenate(batch, axis=1).mean(axis=1) for batch in batches]
    weighted = (2 * means[0] + 2 * means[1] + means[2]) / 5
    # As above: digits of log(p).
    np.testing.assert_allclose(metrics["nll_nats"].numpy(), all_steps, rtol=1e-10)
    np.testing.assert_allclose(metrics["nll_nats_batch_mean"].numpy(), weighted, rtol=1e-10)
    assert not np.allclose(all_steps, weighted, rtol=1e-4)


def test_evaluation_batches_hold_every_sequence_and_stay_small() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, size=100)
    batches = length_sorted_batches(lengths, 200)
    assert sorted(np.concatenate(batches)) == list(range(100))
    assert max(lengths[batch].sum() for batch in batches) < 200 + 40
    ordered = lengths[np.concatenate(batches)]
    assert (np.diff(ordered) <= 0).all()


@pytest.mark.parametrize(
    ("split", "tunes", "message"),
    [
        ("train", (), "the train split is empty"),
        ("test", random_rolls([5, 1], seed=0), r"test tune 1 .*at least 2 steps.*got \(1, 88\)"),
        ("valid", (np.zeros((5, 87), dtype=np.uint8),), r"valid tune 0 .*got \(5, 87\)"),
    ],
)
def test_unusable_tunes(split: str, tunes: tuple[np.ndarray, ...], message: str) -> None:
    good = random_rolls([4], seed=0)
    splits = {"train": good, "valid": good, "test": good} | {split: tunes}
    with pytest.raises(DataError, match=message):
        PolyMusic(PianoRolls(**splits))
