"""What holds for every sampler, with every scheduler; a new one is picked up from the tables."""

import itertools
import math

import pytest

from dmu_search.config.distributions import Choice, Interval
from dmu_search.study.proposals import SAMPLERS
from dmu_search.study.stopping import SCHEDULERS
from dmu_search.study.trials import Report
from tests.study.toy import (
    BATCH,
    MAX_EPOCHS,
    PAPER,
    RATE,
    RATIO,
    RULE,
    SPACE,
    carry_out,
    loss,
    make,
)

WIDE = {
    RATE: Interval(1e-4, 1e-1, log=True),
    BATCH: Interval(1, 64, integer=True, log=True),
    "network.z_bias": Interval(0.0, 4.0, step=0.5),
    RULE: Choice(("paper", "released", "ratio")),
    RATIO: Interval(0.02, 1.0, log=True),
    "training.scale_block_weight_decay": Choice((True, False)),
}

every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)
every_scheduler = pytest.mark.parametrize("scheduler", SCHEDULERS)


@every_sampler
def test_proposals_lie_in_the_space_with_the_keys_that_apply(sampler):
    study = make(sampler=sampler, space=WIDE, trials=25, warm_starts=(), scheduler="none")
    carry_out(study, concurrent=3)
    for trial in study.trials.values():
        assert set(WIDE) - set(trial.values) == (
            {RATIO} if trial.values[RULE] != "ratio" else set()
        )
        for name, value in trial.values.items():
            assert value in WIDE[name], (name, value)
    assert len({str(trial.values) for trial in study.trials.values()}) == 25


@every_sampler
def test_the_seed_and_the_past_decide_and_nothing_else(sampler):
    studies = [make(sampler=sampler, seed=seed, trials=14) for seed in (0, 0, 1)]
    for study in studies:
        carry_out(study)
    first, again, other = ([dict(t.values) for t in s.trials.values()] for s in studies)
    assert first == again
    assert first[1:] != other[1:]


@every_sampler
def test_a_warm_start_keeps_its_values_and_the_rest_is_drawn(sampler):
    given = {RATE: 0.005, RULE: "ratio"}
    study = make(sampler=sampler, trials=2, warm_starts=[type(PAPER)("paper", given)])
    values = study.next().values
    assert given.items() <= values.items()
    assert values.keys() == {RATE, RULE, RATIO, BATCH}
    plain = make(sampler=sampler, trials=1, warm_starts=[type(PAPER)("p", {RULE: "paper"})])
    assert plain.next().values.keys() == {RATE, RULE, BATCH}


@every_sampler
@every_scheduler
def test_a_study_ends_with_all_trials_over_and_its_best_trained_to_the_end(sampler, scheduler):
    study = make(sampler=sampler, scheduler=scheduler, trials=15, warm_starts=())
    carry_out(study, concurrent=2)
    trials = study.trials.values()
    assert study.over
    assert len(trials) == 15
    assert all(trial.over for trial in trials)
    if scheduler != "asha":
        seen = min(
            t.objective for t in trials if t.objective is not None and t.status != "diverged"
        )
        assert study.best.objective <= seen


@every_sampler
@pytest.mark.parametrize("bad", ["diverges", "fails"])
def test_where_nothing_works_the_study_still_ends(sampler, bad):
    study = make(sampler=sampler, scheduler="promotion", trials=12, warm_starts=())
    while (assignment := study.next()) is not None:
        if bad == "fails":
            study.fail(assignment.number, "no")
        else:
            study.report(assignment.number, Report(1, math.nan, {}))
    assert study.over
    assert study.best is None


@every_sampler
def test_an_objective_that_is_to_be_large_mirrors_one_that_is_to_be_small(sampler):
    """Proposals, and who goes on, are the same where all values have the other sign."""
    asked = []
    for sign, direction in ((1, "minimize"), (-1, "maximize")):
        study = make(
            sampler=sampler, scheduler="promotion", trials=16, warm_starts=(), direction=direction
        )
        at: dict[int, int] = {}
        while (assignment := study.next()) is not None:
            goes_on = True
            while goes_on:
                epoch = at[assignment.number] = at.get(assignment.number, 0) + 1
                value = sign * loss(assignment.values, epoch)
                goes_on = study.report(
                    assignment.number, Report(epoch, value, {}, finished=epoch == MAX_EPOCHS)
                )
        asked.append([(t.status, t.epoch, sorted(t.values.items())) for t in study.trials.values()])
    assert str(asked[0]) == str(asked[1])


@every_sampler
def test_an_empty_space_has_one_setting(sampler):
    study = make(sampler=sampler, space={}, trials=2, warm_starts=(), scheduler="none")
    assert [study.next().values for _ in range(2)] == [{}, {}]


def test_the_model_finds_better_settings_than_chance():
    def found(sampler, seed):
        study = make(sampler=sampler, seed=seed, trials=40, warm_starts=(), scheduler="promotion")
        carry_out(study)
        return loss(study.best.values) - loss({RATE: 0.01, RULE: "paper"})

    own, other = ([found(name, seed) for seed in range(4)] for name in ("gp", "random"))
    assert sum(own) < 0.6 * sum(other)


def test_parallel_proposals_of_the_model_spread():
    space = {RATE: SPACE[RATE]}
    study = make(sampler="gp", space=space, trials=40, warm_starts=(), scheduler="none")
    for _ in range(12):
        number = (assignment := study.next()).number
        value = abs(math.log(assignment.values[RATE] / 0.01))
        study.report(number, Report(1, value, {}, finished=True))
    rates = sorted(math.log(study.next().values[RATE]) for _ in range(6))
    assert min(b - a for a, b in itertools.pairwise(rates)) > 0.001
