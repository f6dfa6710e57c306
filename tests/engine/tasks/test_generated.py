"""The synthetic tasks: every rule of their sequences, and what replicas share."""

import dataclasses
import hashlib
import math

import numpy as np
import pytest
import torch

from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks import generated as module
from dmu_search.engine.tasks import task_class
from dmu_search.engine.tasks.adding import Adding, marked_steps
from dmu_search.engine.tasks.generated import GeneratedTask, Rules, Sequences, below, full_rows
from dmu_search.engine.tasks.noiseseq import NoiseSeq
from dmu_search.engine.tasks.tempord import END, FILLERS, START, TempOrd, X, Y, windows
from dmu_search.engine.training.trainer import Trainer
from dmu_search.errors import ConfigError
from tests.engine.conftest import batches_of, small_rules
from tests.tables import GENERATED

every_task = pytest.mark.parametrize("name", GENERATED)
SETTINGS = NetworkSettings("gru", (4,))


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def batches(task: GeneratedTask, seeds: list[int], size: int = 5) -> list[Sequences]:
    own = [torch.Generator().manual_seed(seed) for seed in seeds]
    return list(task.train_batches(own, batches_of(size)))


def many(task: GeneratedTask, count: int = 20_000) -> Sequences:
    """So many sequences of one replica, for frequencies."""
    return next(iter(task.train_batches(generators(1), batches_of(count))))


def assert_uniform(values: np.ndarray, expected: range) -> None:
    """Every value as often as any other, within 5 standard deviations of a fair choice."""
    counts = np.bincount(values.ravel() - expected.start, minlength=len(expected))
    assert len(counts) == len(expected)
    share = 1 / len(expected)
    slack = 5 * np.sqrt(values.size * share * (1 - share))
    assert np.abs(counts - values.size * share).max() < slack


def equal(one: Sequences, other: Sequences) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@every_task
def test_a_replica_sees_what_it_would_see_alone(name: str) -> None:
    task = task_class(name)(small_rules(batches_per_epoch=3))
    together = batches(task, seeds=list(range(4)))
    for replica in range(4):
        for batch, alone in zip(together, batches(task, seeds=[replica]), strict=True):
            own = [values[replica : replica + 1] for values in vars(batch).values()]
            assert equal(Sequences(*own), alone)


@every_task
def test_batches_and_replicas_differ(name: str) -> None:
    first, second = batches(task_class(name)(small_rules()), seeds=[0, 1])
    assert not torch.equal(first.inputs, second.inputs)
    assert not torch.equal(first.inputs[0], first.inputs[1])


@every_task
def test_consecutive_batches_are_independent(name: str) -> None:
    """Targets of one batch say nothing about those of the next."""
    task = task_class(name)(small_rules(batches_per_epoch=2))
    first, second = (b.targets[0].double() for b in batches(task, seeds=[0], size=20_000))
    correlation = torch.corrcoef(torch.stack([first, second]))[0, 1]
    # Standard deviation 1 / sqrt(20 000) = 0.007 if they are independent.
    assert abs(correlation) < 5 * 0.0071


@every_task
def test_the_fixed_sets_are_the_same_everywhere_and_differ(name: str) -> None:
    task, other = task_class(name)(small_rules()), task_class(name)(small_rules())
    torch.manual_seed(1)
    for split, count in small_rules().fixed_sequences.items():
        assert equal(task.fixed_set(split), other.fixed_set(split))
        assert task.fixed_set(split).count == count
    assert not torch.equal(task.fixed_set("train").targets, task.fixed_set("valid").targets)


@every_task
def test_an_epoch_has_the_asked_batches(name: str) -> None:
    made = batches(task_class(name)(small_rules(batches_per_epoch=4)), seeds=[0, 1], size=3)
    assert [batch.targets.shape for batch in made] == [(2, 3)] * 4


@every_task
def test_the_papers_sizes_are_the_defaults(name: str) -> None:
    task = task_class(name)(Rules(100, 200))
    sizes = {split: task.fixed_set(split).count for split in ("train", "valid", "test")}
    assert sizes == {"train": 1_000, "valid": 1_000, "test": 10_000}


@every_task
def test_precisions_see_the_same_sequences(name: str) -> None:
    single = task_class(name)(small_rules())
    double = task_class(name)(small_rules(), dtype=torch.float64)
    (a, *_), (b, *_) = batches(single, [0]), batches(double, [0])
    assert torch.equal(a.inputs.double(), b.inputs.double())
    assert b.inputs.dtype in (torch.float64, torch.int64)


# Of two batches of two replicas at the paper's length. They may never change: recorded runs would
# not be those of the same command any more.
RECORDED_BATCHES = {
    "adding": "2c3d24970c45d1edd02c6eb82cee443cc16cddf7f3edb58dac6f98f3ecb07fb7",
    "tempord": "ce5815c6c9cd1e0a531c19e62c818f84529fcadebf953b858aacf1afe6db89cc",
    "noiseseq": "217a5163ed4541c4f67e46ec654b718a6fccd23c80e6a3428ac86c85fd87815c",
}


@every_task
def test_the_papers_batches_are_those_that_were_recorded(name: str) -> None:
    digest = hashlib.sha256()
    for batch in batches(task_class(name)(small_rules(length=100)), seeds=[0, 1], size=32):
        for tensor in batch.tensors:
            digest.update(tensor.contiguous().numpy().tobytes())
    assert digest.hexdigest() == RECORDED_BATCHES[name]


@pytest.mark.parametrize(("length", "longest"), [(100, 110), (50, 55), (12, 14), (37, 41)])
def test_rules_of_adding(length: int, longest: int) -> None:
    batch = many(Adding(small_rules(length=length)))
    assert batch.inputs.shape[1] == longest
    assert_uniform(batch.lengths.numpy(), range(length, longest + 1))
    values, markers = batch.inputs[0].numpy().transpose(2, 1, 0)
    assert values.min() >= -1
    assert values.max() < 1
    assert abs(values.mean()) < 5 * np.sqrt(1 / 3 / values.size)
    for sequence in range(2_000):
        steps = batch.lengths[0, sequence].item()
        own = markers[sequence, :steps]
        assert own[0] == own[-1] == -1
        assert (own == -1).sum() == 2
        marked = np.flatnonzero(own == 1)
        assert len(marked) in (1, 2)  # one, if step 0 is the other
        assert np.isin(own, [-1, 0, 1]).all()
        target = 0.5 + values[sequence, marked].sum() / 4
        # Sums of single-precision numbers of size 1.
        assert batch.targets[0, sequence].item() == pytest.approx(target, abs=1e-6)
        assert marked[0] < 10 or len(marked) == 1
        assert marked[-1] < max(10, steps // 2 - 1)


def test_marked_steps_of_adding_are_redrawn_until_they_differ() -> None:
    draws = torch.rand(2, 1, 100_000, generator=torch.Generator().manual_seed(0))
    for length in (100, 109, 12):
        first, second = marked_steps(draws[0], draws[1], lengths=torch.full((1, 100_000), length))
        assert (first != second).all()
        assert_uniform(first.numpy(), range(10))
        limit = length // 2 - 1
        for step in range(10):
            seconds = second[first == step].numpy()
            # The steps left, moved together so that they have no gap.
            left = seconds - (seconds > step) if step < limit else seconds
            assert_uniform(left, range(limit - (step < limit)))


def test_marked_step_0_of_adding_keeps_its_marker_and_adds_nothing() -> None:
    draws = torch.full((1, Adding(small_rules()).numbers, 1), 0.75)
    draws[0, 1] = 0.0  # the first marked step is 0
    batch = Adding(small_rules()).sequences(draws)
    markers = batch.inputs[0, :, 0, 1]
    assert markers[0] == -1
    assert (markers == 1).sum() == 1
    assert batch.targets.item() == 0.5 + 0.5 / 4  # one value of 2 * 0.75 - 1


def test_rows_first_met_while_evaluating_do_for_training(monkeypatch) -> None:
    monkeypatch.setenv("DMU_SEARCH_BACKEND", "reference")
    task = Adding(small_rules(length=17))
    settings = TrainingSettings(0.01, batch_size=task.rules.valid_sequences, max_epochs=1)
    trainer = Trainer(task, NetworkSettings("dmu", (3,)), training=settings)
    full_rows.cache_clear()
    trainer.evaluate_best(("valid",))
    assert math.isfinite(trainer.run_epoch().metrics["val_mse"][0])


# Shortest and longest sequences, and where the windows begin; they are as wide as lengths vary.
WINDOWS = [
    (100, 110, (10, 33, 66)),
    pytest.param(50, 55, (5, 18, 36), marks=pytest.mark.slow),
    pytest.param(95, 105, (10, 33, 66), marks=pytest.mark.slow),
    (12, 14, (2, 7, 9)),
]


@pytest.mark.parametrize(("length", "longest", "starts"), WINDOWS)
def test_rules_of_tempord(length: int, longest: int, starts: tuple[int, int, int]) -> None:
    batch = many(TempOrd(small_rules(length=length)))
    assert batch.inputs.shape[1] == longest
    assert_uniform(batch.lengths.numpy(), range(length, longest + 1))
    assert_uniform(batch.targets.numpy(), range(8))
    symbols = batch.inputs[0].numpy().T
    fillers = []
    steps = []
    for sequence, own_length in enumerate(batch.lengths[0].tolist()):
        own = symbols[sequence, :own_length]
        assert own[0] == START
        assert own[-1] == END
        marked = np.flatnonzero((own == X) | (own == Y))
        assert len(marked) == 3
        b1, b2, b3 = own[marked] == Y
        assert batch.targets[0, sequence] == 4 * b1 + 2 * b2 + b3
        steps.append(marked)
        fillers.append(np.delete(own, [0, *marked, own_length - 1]))
    for at, start in enumerate(starts):
        assert_uniform(np.array(steps)[:, at], range(start, start + longest - length))
    assert_uniform(np.concatenate(fillers), range(FILLERS))


def test_windows_of_tempord_neither_overlap_nor_leave_the_sequence() -> None:
    for length in range(module.SHORTEST, 1_000):
        (first, second, third), width = windows(Rules(length, 200))
        assert 0 < first < first + width <= second < second + width <= third, length
        assert third + width < length, length
        if length > 41:
            assert (first, second, third) == (width, 3 * width + 3, 6 * width + 6)


@pytest.mark.parametrize("length", [12, 13, 30, 57, 1_000])
def test_tempord_has_room_at_every_length(length: int) -> None:
    batch = many(TempOrd(small_rules(length=length)), count=200)
    for sequence, steps in enumerate(batch.lengths[0].tolist()):
        own = batch.inputs[0, :steps, sequence]
        assert ((own == X) | (own == Y)).sum() == 3
        assert own[0] == START
        assert own[-1] == END


def test_rules_of_noiseseq() -> None:
    batch = many(NoiseSeq(small_rules(length=100)), count=5_000)
    assert batch.inputs.shape == (1, 100, 5_000)
    assert (batch.lengths == 100).all()
    assert_uniform(batch.targets.numpy(), range(98, 100))
    assert torch.equal(batch.inputs[:, 0], batch.targets)
    assert_uniform(batch.inputs[:, 1:].numpy(), range(98))


def test_fixed_noise_is_the_papers_two_sequences() -> None:
    task = NoiseSeq(small_rules(length=100, noise="fixed"))
    first, second = batches(task, seeds=[0, 1], size=50)
    assert first.inputs.shape == (2, 99, 50)
    assert_uniform(many(task).targets.numpy(), range(98, 100))
    noise = first.inputs[0, 1:, 0]
    assert sorted(noise.tolist()) == list(range(98))
    for batch in (first, second, task.fixed_set("test")):
        assert (batch.inputs[:, 1:] == noise[:, None]).all()
        assert torch.equal(batch.inputs[:, 0], batch.targets)


def test_choices_never_reach_their_limit() -> None:
    largest = torch.tensor(1 - 2**-24)
    for limit in range(1, 2_000):
        assert below(largest, limit) == limit - 1
        assert below(largest, torch.tensor(limit)) == limit - 1


@pytest.mark.parametrize("name", GENERATED)
@pytest.mark.parametrize("rows_at_a_time", [1, 500, 2**19])
def test_scores_are_those_of_the_last_own_step(
    monkeypatch: pytest.MonkeyPatch, name: str, rows_at_a_time: int
) -> None:
    """Against a loop that runs each sequence alone, one-hot inputs written out."""
    monkeypatch.setattr(module, "EVALUATION_ROWS", rows_at_a_time)
    task = task_class(name)(small_rules(valid_sequences=7), dtype=torch.float64)
    network = task.network(SETTINGS)
    weights = network.initialise(generators(2), torch.float64)
    fixed = task.fixed_set("valid").to(task.device, task.dtype)
    scores = []
    for sequence in range(7):
        steps = int(fixed.lengths[0, sequence])
        inputs = fixed.inputs[:, :steps, sequence]
        if not inputs.is_floating_point():
            inputs = torch.eye(task.input_size, dtype=torch.float64)[inputs]
        rows = module.full_rows(2, 1, times=steps, device=task.device)
        states, _ = network.recur(weights, inputs.expand(2, -1, -1), rows=rows)
        outputs = network.read(weights, states[:, -1:])
        targets = fixed.targets[:, sequence : sequence + 1].expand(2, -1)
        scores.append(task.scores(outputs, targets))
    metrics = task.evaluate(network, weights, split="valid")
    assert metrics.keys() == scores[0].keys()
    for metric, values in metrics.items():
        by_hand = torch.cat([score[metric] for score in scores], dim=1).mean(dim=1)
        # Float64 products of other shapes round differently.
        torch.testing.assert_close(values, by_hand, rtol=1e-12, atol=0)
    batch = dataclasses.replace(fixed, **{k: torch.cat([v, v]) for k, v in vars(fixed).items()})
    loss = task.loss(network, weights, batch=batch, carry=None)
    torch.testing.assert_close(loss.mean, metrics[task.loss_name], rtol=1e-12, atol=0)
    assert loss.terms.tolist() == [7, 7]


def test_rules_that_no_sequence_fits() -> None:
    with pytest.raises(ConfigError) as caught:
        Rules(length=11, batches_per_epoch=0, noise="none")
    assert caught.value.faults == (
        "data.length: must be >= 12, got 11",
        "data.batches_per_epoch: must be >= 1, got 0",
        "data.noise: must be one of fresh, fixed, got 'none'",
    )
