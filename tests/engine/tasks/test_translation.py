"""Translation: both languages' packings, the decoder's own words, and what is counted."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from dmu_search.engine.networks.network import Weights
from dmu_search.engine.networks.translator import (
    EMBEDDING_SIZE,
    Translator,
    Vocabulary,
    build_translator,
)
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks import translation as module
from dmu_search.engine.tasks.sentences import END, START, Pairs, SplitPairs
from dmu_search.engine.tasks.translation import PairBatch, Translation, speak
from dmu_search.engine.training.trainer import Trainer
from dmu_search.errors import DataError
from dmu_search.names import MODELS
from tests.engine.conftest import batches_of, random_sentences, small_pairs

every_network = pytest.mark.parametrize(
    "settings",
    [NetworkSettings(model, (4,) * depth, z_bias=1.0) for model in MODELS for depth in (1, 2)],
    ids=lambda settings: f"{settings.model}-{settings.depth}",
)
GRU = NetworkSettings("gru", (4,))


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def task_and_weights(settings: NetworkSettings) -> tuple[Translation, Translator, Weights]:
    """A task in double precision, and two replicas of its network."""
    task = Translation(small_pairs(), dtype=torch.float64)
    network = task.network(settings)
    weights = network.initialise(generators(2), task.dtype)
    return task, network, {name: weight.requires_grad_() for name, weight in weights.items()}


def a_batch(task: Translation, ratio: float = 1.0, size: int = 6, draw: str = "batch") -> PairBatch:
    training = batches_of(size, teacher_forcing_ratio=ratio, teacher_forcing_draw=draw)
    return next(iter(task.train_batches(generators(2), training)))


def sentences_of(pairs: Pairs) -> list[tuple[list[int], list[int]]]:
    """Source and target of each pair, markers included."""
    both = (np.split(each.words, each.starts[1:]) for each in (pairs.source, pairs.target))
    return [(source.tolist(), target.tolist()) for source, target in zip(*both, strict=True)]


def alone(
    network: Translator, weights: Weights, source: list[int], fed: Sequence[int | None]
) -> tuple[torch.Tensor, list[list[int]]]:
    """One sentence by cells alone: log-probabilities, ``(replica, step, word)``, and words said.

    Args:
        network: encoder and decoder.
        weights: of two replicas.
        source: its words.
        fed: words that the decoder reads; None where it reads its own.
    """
    encoder, decoder = (
        {n.removeprefix(part): w for n, w in weights.items() if n.startswith(part)}
        for part in ("encoder.", "decoder.")
    )
    state = tuple(
        tuple(torch.zeros(2, 1, size, dtype=torch.float64) for size in cell.state_sizes)
        for cell in network.encoder.cells
    )
    for word in source:
        state = network.encoder.step(encoder, torch.full((2, 1), word), state)
    steps, said = [], torch.full((2, 1), START)
    for right in fed:
        word = said if right is None else torch.full((2, 1), right)
        state = network.decoder.step(decoder, word, state)
        steps.append(network.decoder.read(decoder, state[-1][0]).log_softmax(dim=2))
        said = steps[-1].argmax(dim=2)
    logs = torch.cat(steps, dim=1)
    return logs, logs.argmax(dim=2).tolist()


def test_shapes_and_names() -> None:
    network = build_translator(NetworkSettings("lstm", (3, 4)), Vocabulary(9, 8))
    assert network.shapes["encoder.embedding.weight"] == (9, EMBEDDING_SIZE)
    assert network.shapes["decoder.embedding.weight"] == (8, EMBEDDING_SIZE)
    assert network.shapes["decoder.readout_1.weight"] == (4, 8)
    assert not [name for name in network.shapes if name.startswith("encoder.readout")]
    weights = network.initialise(generators(2))
    assert {name: weight.shape[1:] for name, weight in weights.items()} == network.shapes
    recurrent = {name for name in network.shapes if ".cell_" in name}
    assert set(network.recurrent_weights) == recurrent
    assert {name.split(".")[0] for name in recurrent} == {"encoder", "decoder"}
    encoder, decoder = (weights[f"{part}.cell_1.state.weight"] for part in ("encoder", "decoder"))
    assert not torch.equal(encoder, decoder)


def test_both_dmu_blocks_have_their_own_learning_rate() -> None:
    network = build_translator(NetworkSettings("dmu", (3, 4)), Vocabulary(9, 8))
    layers = network.dense_layers
    assert set(layers) == set(network.recurrent_weights)
    assert layers["encoder.cell_1.dense_2.bias"] == layers["decoder.cell_1.dense_2.bias"] == 2


def test_z_bias_is_that_of_both_blocks() -> None:
    settings = NetworkSettings("dmu", (4,), z_bias=3.0)
    weights = build_translator(settings, Vocabulary(9, 8)).initialise(generators(1))
    for part in ("encoder", "decoder"):
        bias = weights[f"{part}.cell_1.dense_1.bias"][0, 0]
        assert bias.tolist() == [3.0] * 4 + [0.0] * 4


def test_a_batch_holds_pairs_in_two_packings() -> None:
    task, _, _ = task_and_weights(GRU)
    batches = list(task.train_batches(generators(2), batches_of(3)))
    assert len(batches) == task.batches_per_epoch(3) == 8
    expected = sorted(sentences_of(small_pairs().train))
    for replica in range(2):
        found = []
        for batch in batches:
            for index in range(batch.rows.batch):
                rows, source_rows = batch.rows, batch.source_rows
                mine = (rows.sequence[replica] == index) & rows.valid[replica]
                source = (source_rows.sequence[replica] == index) & source_rows.valid[replica]
                inputs, targets = batch.inputs[replica, mine], batch.targets[replica, mine]
                assert torch.equal(inputs[1:], targets[:-1])
                found.append((batch.source[replica, source].tolist(), [START, *targets.tolist()]))
                assert inputs[0] == START
                assert targets[-1] == END
        assert sorted(found) == expected
    assert not np.array_equal(batches[0].rows.lengths[0], batches[0].rows.lengths[1])


@pytest.mark.parametrize("draw", ["batch", "step"])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_the_ratio_is_the_share_of_draws_for_the_right_words(ratio: float, draw: str) -> None:
    task, _, _ = task_and_weights(GRU)
    drawn = generators(100)
    training = batches_of(3, teacher_forcing_ratio=ratio, teacher_forcing_draw=draw)
    batches = list(task.train_batches(drawn, training))
    forced = torch.stack([batch.forced for batch in batches]).double()
    assert forced.shape == (8, 100, 1 if draw == "batch" else task.longest)
    # Five standard deviations of as many draws.
    assert abs(forced.mean().item() - ratio) <= 5 * (ratio * (1 - ratio) / forced.numel()) ** 0.5
    assert ratio in (0.0, 1.0) or not torch.equal(forced[:, 0], forced[:, 1])
    other = next(iter(task.train_batches(generators(100), batches_of(3))))
    assert torch.equal(other.targets, batches[0].targets)


@every_network
def test_the_packed_decoder_is_the_one_that_goes_step_by_step(settings: NetworkSettings) -> None:
    task, network, weights = task_and_weights(settings)
    batch = a_batch(task)
    state = network.encode(weights, batch.source, rows=batch.source_rows)
    packed = network.decode(weights, batch.inputs, rows=batch.rows, initial_state=state)
    stepped, _ = speak(network, weights, batch=batch, state=state)
    valid = batch.rows.valid
    # Float64 products of other shapes round differently.
    torch.testing.assert_close(packed[valid], stepped[valid], rtol=1e-12, atol=1e-14)


@every_network
@pytest.mark.parametrize(("ratio", "draw"), [(0.0, "batch"), (1.0, "batch"), (0.5, "step")])
def test_the_loss_is_that_of_each_sentence_alone(
    settings: NetworkSettings, ratio: float, draw: str
) -> None:
    task, network, weights = task_and_weights(settings)
    batch = a_batch(task, ratio, draw=draw)
    forced = batch.forced.expand(-1, task.longest)
    assert all(0 < share < 1 for share in forced.double().mean(dim=1)) == (draw == "step")
    loss = task.loss(network, weights, batch=batch, carry=None)
    for replica in range(2):
        losses: list[float] = []
        for index in range(batch.rows.batch):
            mine = (batch.rows.sequence[replica] == index) & batch.rows.valid[replica]
            own = batch.source_rows.sequence[replica] == index
            source = batch.source[replica, own & batch.source_rows.valid[replica]].tolist()
            targets = batch.targets[replica, mine]
            right = batch.inputs[replica, mine].tolist()
            # Sentences are as long as they are, draws as many as the longest needs.
            fed = [a if b else None for a, b in zip(right, forced[replica].tolist(), strict=False)]
            logs, _ = alone(network, weights, source, fed)
            losses += (-logs[replica].gather(1, targets.unsqueeze(1)).squeeze(1)).tolist()
        # Float64 sums in another order.
        assert loss.mean[replica].item() == pytest.approx(np.mean(losses), rel=1e-10)
        assert loss.terms[replica].item() == len(losses)


@every_network
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_every_weight_gets_a_finite_gradient(settings: NetworkSettings, ratio: float) -> None:
    task, network, weights = task_and_weights(settings)
    loss = task.loss(network, weights, batch=a_batch(task, ratio), carry=None)
    loss.mean.sum().backward()
    for name, weight in weights.items():
        assert weight.grad is not None
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().flatten(1).sum(dim=1).min() > 0, name


def test_a_replica_that_reads_its_own_words_leaves_the_others_theirs() -> None:
    task, network, weights = task_and_weights(GRU)
    batch = a_batch(task)
    means = {
        forced: task.loss(
            network,
            weights,
            batch=dataclasses.replace(batch, forced=torch.tensor(forced).unsqueeze(1)),
            carry=None,
        ).mean.detach()
        for forced in itertools.product((True, False), repeat=2)
    }
    for replica in range(2):
        for forced, mean in means.items():
            same = means[(forced[replica],) * 2]
            # The packed decoder and the one step by step round differently.
            torch.testing.assert_close(mean[replica], same[replica], rtol=1e-12, atol=0)
    assert not torch.equal(means[True, True], means[False, False])


@every_network
@pytest.mark.parametrize("words_at_a_time", [1, 20, 2**13])
def test_accuracy_and_loss_by_hand(
    monkeypatch: pytest.MonkeyPatch, settings: NetworkSettings, words_at_a_time: int
) -> None:
    """Each sentence alone, so padding cannot count; its end marker does."""
    monkeypatch.setattr(module, "EVALUATION_WORDS", words_at_a_time)
    task, network, weights = task_and_weights(settings)
    hits, nll, words = np.zeros(2), np.zeros(2), 0
    with torch.no_grad():
        metrics = task.evaluate(network, weights, split="valid")
        for source, target in sentences_of(small_pairs().valid):
            right = target[1:]
            _, said = alone(network, weights, source, [None] * len(right))
            logs, _ = alone(network, weights, source, target[:-1])
            for replica in range(2):
                hits[replica] += sum(a == b for a, b in zip(said[replica], right, strict=True))
                nll[replica] -= sum(logs[replica, t, word].item() for t, word in enumerate(right))
            words += len(right)
    np.testing.assert_allclose(metrics["accuracy"].numpy(), hits / words, rtol=1e-12)
    np.testing.assert_allclose(metrics["nll_nats"].numpy(), nll / words, rtol=1e-10)


@every_network
def test_translations_are_greedy_and_end(settings: NetworkSettings) -> None:
    task, network, weights = task_and_weights(settings)
    said = task.translate(network, weights, split="test")
    pairs = sentences_of(small_pairs().test)
    assert said.shape == (2, len(pairs), task.longest)
    assert task.longest == max(len(target) - 1 for _, target in sentences_of(small_pairs().train))
    with torch.no_grad():
        for index, (source, _) in enumerate(pairs):
            _, by_hand = alone(network, weights, source, [None] * task.longest)
            for replica in range(2):
                own = by_hand[replica]
                words = own[: own.index(END)] if END in own else own
                expected = words + [END] * (task.longest - len(words))
                assert said[replica, index].tolist() == expected


@pytest.mark.parametrize(("ratio", "left"), [(1.0, 0.65), (0.0, 0.9)])
@pytest.mark.parametrize(
    "model", [m if m == "dmu" else pytest.param(m, marks=pytest.mark.slow) for m in MODELS]
)
def test_learns(model: str, ratio: float, left: float) -> None:
    """Less from its own words, the first of which are all wrong."""
    training = TrainingSettings(
        0.003, batch_size=4, max_epochs=20, teacher_forcing_ratio=ratio, replicas=2
    )
    trainer = Trainer(Translation(small_pairs()), NetworkSettings(model, (64,)), training=training)
    run = [trainer.run_epoch() for _ in range(20)]
    losses = [result.metrics["running_train_nll_nats"] for result in run]
    assert max(losses[-1]) < left * min(losses[0])
    best = trainer.evaluate_best(("valid",))["val_accuracy"]
    for replica, best_epoch in enumerate(run[-1].best_epoch):
        own = [result.metrics["val_accuracy"][replica] for result in run]
        assert best_epoch == own.index(max(own)) + 1
        assert best[replica] == max(own)


@pytest.mark.parametrize(("ratio", "draw"), [(0.0, "batch"), (0.5, "batch"), (0.5, "step")])
def test_replicas_and_resumes_do_not_depend_on_others_draws(ratio: float, draw: str) -> None:
    settings = TrainingSettings(
        0.01,
        batch_size=3,
        max_epochs=3,
        teacher_forcing_ratio=ratio,
        teacher_forcing_draw=draw,
        replicas=3,
        seed=5,
    )

    def trainer(**changes: Any) -> Trainer:
        task = Translation(small_pairs(), dtype=torch.float64)
        return Trainer(task, GRU, training=dataclasses.replace(settings, **changes))

    together, resumed = trainer(), trainer()
    first = [together.run_epoch().metrics for _ in range(3)]
    resumed.run_epoch()
    other = trainer(seed=99)
    other.load_state_dict(resumed.state_dict())
    assert [other.run_epoch().metrics for _ in range(2)] == first[1:]
    solo = trainer(replicas=1, seed=7)
    last = [solo.run_epoch().metrics for _ in range(3)][-1]
    for name, values in last.items():
        # Float64 rounding, which Adam's division by small gradients can amplify early on.
        assert first[-1][name][2] == pytest.approx(values[0], rel=1e-8), name


def test_every_split_needs_a_pair() -> None:
    good = small_pairs()
    none = Pairs(*[random_sentences(np.array([], int), np.array([], int))] * 2)
    with pytest.raises(DataError, match="no pairs are left for valid"):
        SplitPairs(good.vocabulary, good.train, none, good.test)
