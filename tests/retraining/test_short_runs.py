import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dmu_search.errors import ConfigError
from dmu_search.results.statistics import chance_of_next
from dmu_search.results.trainings import RecordedRun, Replica
from dmu_search.retraining.short_runs import FIRST_SEED, compared, shortened
from dmu_search.retraining.sources import sourced


@pytest.fixture
def adding(tmp_path):
    """The paper's setting of Adding's DMU among those of a table, and the data it is on."""
    one = sourced("paper", "adding", model="dmu", depth=2, output_dir=tmp_path)
    return [(("paper",), one)], {("adding", one.run.data): SimpleNamespace(sha256="same")}


def recorded(settings, curves, seconds=10.0, sha256="same"):
    ((_, one),) = settings
    training = replace(one.run.training, replicas=len(curves))
    replicas = tuple(
        Replica(training.seed + i, 1, {}, tuple(curve)) for i, curve in enumerate(curves)
    )
    run = replace(one.run, training=training)
    return RecordedRun("r", run, sha256, "data", "FINISHED", len(curves[0]), seconds, replicas)


def test_trainings_are_short_and_have_seeds_of_their_own(adding):
    settings, data = adding
    many = recorded(settings, [[0.1] * 100] * 51, seconds=1000)
    ((_, short),) = shortened(settings, [many], data=data)
    training = short.run.training
    assert (training.max_epochs, training.replicas, training.seed) == (5, 8, FIRST_SEED)
    assert short.run.setting == settings[0][1].run.setting
    slow = recorded(settings, [[0.1] * 100] * 3, seconds=2500)
    ((_, short),) = shortened(settings, [slow], data=data)
    assert (short.run.training.max_epochs, short.run.training.replicas) == (2, 1)


def test_what_is_not_recorded_on_the_data_cannot_be_compared(adding):
    settings, data = adding
    other = recorded(settings, [[0.1] * 10], sha256="other")
    with pytest.raises(ConfigError, match="records: has no training of these settings on this"):
        shortened(settings, [other], data=data)


def comparison_of(adding, losses, new):
    settings, data = adding
    before = recorded(settings, [[loss] * 100 for loss in losses])
    short = shortened(settings, [before], data=data)
    after = [recorded(short, [[0.5] * 4 + [loss] for loss in new])]
    # What is trained already is among what is recorded when the command is called again.
    (found,) = compared(short, [before, *after], new=after, data=data)
    return found


@pytest.mark.parametrize(
    ("factor", "agrees"), [(1.0, True), (1.02, True), (3.0, False), (0.3, False), (math.nan, False)]
)
def test_new_means_agree_within_the_scatter_of_the_recorded_ones(adding, factor, agrees):
    losses = list(np.exp(np.random.default_rng(1).normal(-3.0, 0.2, 51)))
    found = comparison_of(adding, losses, [factor * loss for loss in losses[:8]])
    assert found.agrees == agrees
    assert len(found.recorded) == 51
    assert len(found.new) == 8


@pytest.mark.parametrize(("new", "agrees"), [(0.109, True), (0.089, False), (0.111, False)])
def test_a_single_recorded_training_is_compared_within_a_tenth(adding, new, agrees):
    assert comparison_of(adding, [0.1], [new]).agrees == agrees


def test_nothing_trained_is_no_agreement(adding):
    settings, data = adding
    before = recorded(settings, [[0.1] * 100] * 51)
    short = shortened(settings, [before], data=data)
    (found,) = compared(short, [before], new=[], data=data)
    assert not found.agrees


@pytest.mark.slow
@pytest.mark.parametrize(("known", "count"), [(5, 1), (5, 3), (51, 8)])
def test_alike_values_are_as_seldom_far_off_as_it_says(known, count):
    rng = np.random.default_rng(0)
    chances = [
        chance_of_next(list(rng.normal(size=known)), list(rng.normal(size=count)))
        for _ in range(2000)
    ]
    assert sum(chance < 0.1 for chance in chances) == pytest.approx(200, abs=4 * math.sqrt(180))


def test_a_rare_seed_far_from_all_others_is_no_difference(adding):
    losses = list(np.random.default_rng(1).normal(0.69, 0.01, 51))
    assert comparison_of(adding, losses, [0.002, *losses[:7]]).agrees
    assert not comparison_of(adding, losses, [0.002] * 4 + [0.6] * 4).agrees


def test_a_seed_counts_once(adding):
    settings, data = adding
    twice = [recorded(settings, [[0.1] * epochs]) for epochs in (100, 50)]
    short = shortened(settings, twice, data=data)
    (found,) = compared(short, twice, new=[recorded(short, [[0.105] * 5])], data=data)
    assert (found.recorded, found.chance, found.agrees) == ((0.1,), None, True)


def test_seeds_that_were_split_among_workers_are_compared_together(adding):
    settings, data = adding
    before = recorded(settings, [[0.1 + i / 1000] * 100 for i in range(12)])
    short = shortened(settings, [before], data=data)
    halves = [recorded(short, [[0.105] * 5] * 4) for _ in range(2)]
    for first, half in zip((0, 4), halves, strict=True):
        training = replace(half.run.training, seed=FIRST_SEED + first)
        replicas = tuple(replace(each, seed=each.seed + first) for each in half.replicas)
        halves[first // 4] = replace(
            half, run=replace(half.run, training=training), replicas=replicas
        )
    (found,) = compared(short, [before], new=halves, data=data)
    assert len(found.new) == 8
