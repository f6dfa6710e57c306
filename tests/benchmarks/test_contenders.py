import math

import pytest
from optuna.trial import TrialState
from simulation.cluster import Cluster
from simulation.contenders import (
    STOCK,
    AskAndTell,
    ProductSearch,
    RayAsha,
    RayOptuna,
    Setup,
    check,
    search_of,
    takes_prior,
)

from dmu_search.config.roots import default_of
from dmu_search.errors import ConfigError
from dmu_search.study.proposals import SAMPLERS
from dmu_search.study.stopping import SCHEDULERS
from tests.benchmarks.toy import Toy

# Each sampler, and each scheduler; the tests of the study try them together.
PAIRS = [f"ours:{sampler}-promotion" for sampler in SAMPLERS]
PAIRS += [f"ours:random-{scheduler}" for scheduler in SCHEDULERS if scheduler != "promotion"]


def carry_out(contender, *, seed=0, workers=3):
    search = search_of(contender, Setup(Toy(), seed, 200))
    return search, Cluster(search, Toy(), max_epochs=9, workers=workers).carry_out(120)


@pytest.mark.parametrize(
    "contender",
    [*STOCK, "ours", *(pytest.param(pair, marks=pytest.mark.slow) for pair in PAIRS)],
)
def test_every_contender_searches_and_repeats_itself_with_its_seed(contender) -> None:
    check(contender)
    _, outcome = carry_out(contender)
    assert outcome.epochs == 120
    assert outcome.improvements[-1].value < 2.0
    assert carry_out(contender)[1] == outcome
    assert carry_out(contender, seed=1)[1] != outcome


def test_ours_is_the_products_study_with_its_defaults() -> None:
    search, outcome = carry_out("ours")
    assert isinstance(search, ProductSearch)
    pair = f"ours:{default_of('search.sampler')}-{default_of('search.scheduler')}"
    assert carry_out(pair)[1] == outcome


def test_ray_tells_stopped_trials_as_complete_and_diverged_ones_as_failed() -> None:
    search = RayOptuna(Setup(Toy(), 0, 9))
    for number in range(3):
        assert search.next().number == number
    assert search.report(0, 1.0, epoch=1, finished=False)
    assert not search.report(1, 2.0, epoch=1, finished=False)
    assert not search.report(2, math.nan, epoch=1, finished=False)
    lives, stopped, diverged = search._searcher._ot_study.get_trials()
    assert (lives.state, lives.intermediate_values) == (TrialState.RUNNING, {1: 1.0})
    assert (stopped.state, stopped.value) == (TrialState.COMPLETE, 2.0)
    assert diverged.state == TrialState.FAIL


@pytest.mark.parametrize("contender", ["optuna-tpe-sh", "optuna-tpe-hyperband"])
def test_optuna_is_told_stopped_trials_as_pruned(contender) -> None:
    search, _ = carry_out(contender)
    assert isinstance(search, AskAndTell)
    ended = [trial for trial in search._study.trials if trial.state.is_finished()]
    assert {trial.state for trial in ended if trial.last_step < 3} == {TrialState.PRUNED}
    assert TrialState.COMPLETE in {trial.state for trial in ended}


def test_random_search_stops_nothing_but_what_diverged() -> None:
    search, _ = carry_out("random")
    assert isinstance(search, AskAndTell)
    ended = {trial.state for trial in search._study.trials if trial.state.is_finished()}
    assert ended <= {TrialState.COMPLETE, TrialState.FAIL}


def test_rays_asha_compares_with_those_before_at_each_rung_and_ends_at_the_last_epoch() -> None:
    asha = RayAsha(9)
    losses = [3.0, 2.0, 4.0, 1.0, 2.5]
    for number in range(5):
        asha.add(number)
    # Lives: no worse than the best third of those before, interpolated.
    lives = [asha.report(number, loss, epoch=1) for number, loss in enumerate(losses)]
    assert lives == [True, True, False, True, False]
    assert asha.report(3, 1.0, epoch=2)
    assert [asha.report(3, 1.0, epoch=epoch) for epoch in (3, 4, 8, 9)] == [True, True, True, False]


@pytest.mark.parametrize("contender", [*STOCK, "ours"])
def test_a_diverged_trial_ends_in_every_contender(contender) -> None:
    search = search_of(contender, Setup(Toy(), 0, 9))
    job = search.next()
    assert job is not None
    assert not search.report(job.number, math.nan, epoch=1, finished=False)
    following = search.next()
    assert following is not None
    assert following.number != job.number


def test_unknown_contenders_are_named_with_those_there_are() -> None:
    for name in ("annealing", "annealing-asha", "tpe-annealing", "tpe"):
        with pytest.raises(ConfigError, match=f"--contenders {name}: no such contender.*ours"):
            check(name)


def test_a_prior_is_for_the_product_only() -> None:
    assert takes_prior("ours")
    assert takes_prior("tpe-asha")
    assert not takes_prior("random-asha")
