import math

import pytest

from dmu_search.config.distributions import Choice, Interval
from dmu_search.study import SearchStudy, WarmStart
from dmu_search.study.mirror import JournalMirror

RATE, RULE, RATIO, BATCH = (
    "training.learning_rate",
    "training.block_learning_rate_rule",
    "training.block_learning_rate_ratio",
    "training.batch_size",
)
SPACE = {
    RATIO: Interval(0.02, 1.0, log=True),
    RATE: Interval(1e-4, 1e-1, log=True),
    RULE: Choice(("paper", "released", "ratio")),
    BATCH: Choice((16, 32)),
}
PAPER = WarmStart("paper", {RATE: 0.005, RULE: "paper", BATCH: 32})


def make(sampler="tpe", seed=0, warm_starts=(PAPER,)):
    return SearchStudy(SPACE, sampler=sampler, seed=seed, startup_trials=4, warm_starts=warm_starts)


def loss(values):
    return abs(math.log(values[RATE] / 0.01)) + (values[RULE] == "ratio")


def search(study, trials, reload_before=None):
    proposals = []
    for number in range(trials):
        if number == reload_before:
            study = SearchStudy.load(study.dump())
        trial_id = f"t{number}"
        proposal = study.ask(trial_id)
        proposals.append(proposal)
        study.report(trial_id, 1, loss(proposal.values) + 1)
        if number % 3 == 2:
            study.prune(trial_id)
        else:
            study.finish(trial_id, loss(proposal.values))
    return study, proposals


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_seed_decides_the_proposals(sampler):
    _, first = search(make(sampler), 12)
    _, again = search(make(sampler), 12)
    _, other = search(make(sampler, seed=1), 12)
    assert first == again
    assert first[1:] != other[1:]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_saved_study_proposes_what_it_would_have(sampler):
    _, whole = search(make(sampler), 12)
    _, interrupted = search(make(sampler), 12, reload_before=7)
    assert interrupted == whole


def test_parallel_proposals_of_the_startup_phase_do_not_depend_on_results():
    parallel, one_by_one = make(), make()
    together = [parallel.ask(f"t{number}") for number in range(4)]
    _, apart = search(one_by_one, 4)
    assert together == apart


def test_warm_starts_come_first_and_say_so():
    _, proposals = search(make(), 3)
    assert proposals[0].values == PAPER.values
    assert [p.warm_start for p in proposals] == ["paper", None, None]


def test_a_conditional_hyperparameter_is_sampled_only_where_it_matters():
    _, proposals = search(make("random"), 40)
    assert {p.values[RULE] for p in proposals} == {"paper", "released", "ratio"}
    for proposal in proposals:
        assert (RATIO in proposal.values) == (proposal.values[RULE] == "ratio")


def test_the_search_learns():
    study, _ = search(make(warm_starts=()), 60)
    best = study.best
    assert best.value < 0.1
    assert best.params[RULE] != "ratio"


@pytest.mark.parametrize(
    "distribution",
    [
        Interval(0.1, 0.9),
        Interval(1e-4, 1e-1, log=True),
        Interval(0.0, 1.0, step=0.1),
        Interval(8, 64, integer=True),
        Interval(8, 64, integer=True, log=True),
        Interval(16, 64, integer=True, step=16),
    ],
)
def test_both_bounds_can_be_proposed(distribution):
    name = BATCH if distribution.integer else RATE
    bounds = [WarmStart("bound", {name: bound}) for bound in (distribution.low, distribution.high)]
    study = SearchStudy(
        {name: distribution}, sampler="random", seed=0, startup_trials=1, warm_starts=bounds
    )
    proposed = [study.ask(f"t{number}").values[name] for number in range(2)]
    assert proposed == [distribution.low, distribution.high]


def test_integer_bounds_and_steps_are_sampled():
    study = SearchStudy(
        {BATCH: Interval(16, 64, integer=True, step=16)}, sampler="random", seed=0, startup_trials=1
    )
    assert {study.ask(f"t{number}").values[BATCH] for number in range(60)} == {16, 32, 48, 64}


def test_outcomes_are_told_as_optuna_means_them():
    study = make()
    for number in range(5):
        study.ask(f"t{number}")
    study.report("t0", 1, 3.0)
    study.report("t0", 2, 2.0)
    study.report("t0", 2, 9.0)  # repeated after a resume: the first stays
    study.prune("t0")
    study.finish("t1", 1.5)
    study.finish("t2", math.nan)
    study.fail("t3")
    states = [trial.state.name for trial in study.trials]
    assert states == ["PRUNED", "COMPLETE", "FAIL", "FAIL", "RUNNING"]
    assert study.trials[0].value == 2.0
    assert study.trials[0].intermediate_values == {1: 3.0, 2: 2.0}
    assert study.best.number == 1
    assert study.running == 1


def test_a_pruned_trial_is_never_the_best():
    study = make()
    study.ask("t0")
    study.report("t0", 1, 0.0)
    study.prune("t0")
    assert study.best is None


def test_the_best_of_an_objective_that_is_to_be_large_is_the_largest(tmp_path):
    study = SearchStudy(
        SPACE, sampler="tpe", seed=0, startup_trials=4, direction="maximize", warm_starts=()
    )
    mirror = JournalMirror(tmp_path / "optuna.journal", "study", study.direction)
    for number in range(60):
        proposal = study.ask(f"t{number}")
        study.finish(f"t{number}", -loss(proposal.values))
        mirror.update(study)
    study = SearchStudy.load(study.dump())
    assert study.best.value == max(trial.value for trial in study.trials)
    # It learns towards large values.
    assert study.best.value > -0.1
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    assert optuna.load_study(study_name="study", storage=storage).best_value == study.best.value


def test_the_mirror_holds_every_finished_trial_once(tmp_path):
    study, _ = search(make(), 5)
    study.ask("running")
    path = tmp_path / "optuna.journal"
    for _ in range(2):
        mirror = JournalMirror(path, "study", study.direction)
        mirror.update(study)
        mirror.update(study)
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    loaded = optuna.load_study(
        study_name="study", storage=JournalStorage(JournalFileBackend(str(path)))
    )
    assert [trial.params for trial in loaded.trials] == [t.params for t in study.trials[:5]]
    assert loaded.best_value == study.best.value
