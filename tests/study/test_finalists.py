"""Which settings are trained over fresh seeds, over how many, and which wins."""

import itertools
import math
from dataclasses import replace

import pytest

from dmu_search.errors import StorageError
from dmu_search.study.finalists import FinalistRule
from dmu_search.study.trials import Finalists, StudyState, TrialState
from tests.studies import plan_studies

EPOCHS = 10
RULE = FinalistRule(
    count=3, seeds=5, share=0.25, replicas=1, first_seed=1, max_epochs=EPOCHS, direction="minimize"
)


def trials_of(*objectives, sources=None, epochs=EPOCHS, status="finished", spent=10_000):
    """Trials with these objectives, and one that was stopped after the other epochs spent."""
    sources = sources or {}
    trials = [
        TrialState(number, {"rate": number}, sources.get(number), status, {epochs: objective})
        for number, objective in enumerate(objectives)
    ]
    rest = spent - epochs * len(trials)
    if rest:
        stopped = TrialState(len(trials), {"rate": -1.0}, None, "stopped early", {rest: 0.0})
        trials.append(stopped)
    return {trial.number: trial for trial in trials}


def chosen(trials, **changed):
    finalists = replace(RULE, **changed).select(trials).finalists
    return None if finalists is None else finalists.trials


def test_the_best_of_those_that_used_their_whole_budget_are_trained_again():
    selection = RULE.select(trials_of(5.0, 1.0, 3.0, 2.0))
    assert selection.finalists == Finalists((1, 3, 2), first_seed=1, seeds=5)
    assert selection.note == ""


def test_a_large_objective_may_be_the_good_one():
    assert chosen(trials_of(5.0, 1.0, 3.0, 2.0), direction="maximize") == (0, 2, 3)


@pytest.mark.parametrize("source", ["paper", "paper, released"])
def test_the_papers_setting_is_always_compared(source):
    trials = trials_of(5.0, 1.0, 3.0, 2.0, sources={0: source})
    assert chosen(trials) == (1, 3, 0)
    assert chosen(trials, count=2) == (1, 0)
    assert chosen(trials_of(1.0, 2.0, sources={0: source})) == (0, 1)


def test_another_source_is_a_setting_like_any_other():
    assert chosen(trials_of(5.0, 1.0, 3.0, 2.0, sources={0: "released"})) == (1, 3, 2)


def test_equal_settings_are_trained_once_as_the_papers_where_it_is():
    trials = trials_of(2.0, 1.0, 2.0, 3.0, sources={2: "paper"})
    trials[2] = replace(trials[2], values=trials[0].values)
    assert chosen(trials) == (1, 2, 3)


@pytest.mark.parametrize("status", ["stopped early", "diverged", "failed", "paused"])
def test_without_a_finished_trial_there_are_none(status):
    selection = RULE.select(trials_of(1.0, 2.0, status=status))
    assert selection.finalists is None
    assert selection.note == "no trial used its whole budget"


def test_zero_turns_them_off():
    selection = replace(RULE, count=0).select(trials_of(1.0, 2.0))
    assert (selection.finalists, selection.note) == (None, "search.finalists=0")


@pytest.mark.parametrize(
    ("spent", "settings", "seeds"),
    [
        (600, 3, 5),
        (599, 3, 4),
        (240, 3, 2),
        # Below two seeds of three settings: two settings, then none.
        (239, 2, 2),
        (160, 2, 2),
        (159, 0, 0),
    ],
)
def test_a_share_of_the_epochs_of_the_search_pays_for_them(spent, settings, seeds):
    selection = RULE.select(trials_of(1.0, 2.0, 3.0, spent=spent))
    if settings == 0:
        assert selection.finalists is None
        assert selection.note == (
            "they need 40 epochs, more than search.finalist_share=0.25 of the 159 that the search "
            "trained"
        )
    else:
        assert len(selection.finalists.trials) == settings
        assert selection.finalists.seeds == seeds
        limit = f"no more in search.finalist_share=0.25 of the {spent} that the search trained"
        assert selection.note == ("" if (settings, seeds) == (3, 5) else limit)


def test_where_there_are_few_the_best_and_the_papers_stay():
    trials = trials_of(9.0, 1.0, 2.0, sources={0: "paper"}, spent=160)
    assert chosen(trials) == (1, 0)


def test_they_never_take_more_than_their_share():
    for spent, count, seeds, replicas, share in itertools.product(
        range(50, 800, 23), (1, 2, 3, 5), (2, 5), (1, 3), (0.1, 0.25, 1.0, 2.0)
    ):
        rule = replace(RULE, count=count, seeds=seeds, replicas=replicas, share=share)
        finalists = rule.select(trials_of(*range(5), spent=spent)).finalists
        if finalists is not None:
            taken = len(finalists.trials) * finalists.seeds * EPOCHS
            assert taken <= share * spent * replicas
            assert 2 <= finalists.seeds <= seeds
            assert len(finalists.trials) <= count


def test_a_single_setting_is_confirmed_too():
    selection = RULE.select(trials_of(1.0, spent=100))
    assert selection.finalists == Finalists((0,), first_seed=1, seeds=2)


def test_their_seeds_follow_those_of_the_search():
    words = ["task=adding", "training.seed=7", "training.replicas=3", "search.finalist_seeds=4"]
    (settings,) = plan_studies(words)
    rule = FinalistRule.of(settings)
    assert (rule.count, rule.seeds, rule.replicas, rule.first_seed) == (3, 4, 3, 10)
    assert rule.share == 0.25


def finalists_with(results):
    return Finalists(tuple(results), first_seed=1, seeds=2, results=results)


@pytest.mark.parametrize(
    ("results", "direction", "winner"),
    [
        ({4: (1.0, 3.0), 2: (1.5, 1.5)}, "minimize", 2),
        ({4: (1.0, 3.0), 2: (1.5, 1.5)}, "maximize", 4),
        ({4: (2.0, 1.0), 2: (1.0, 2.0)}, "minimize", 4),
        # A seed without a finite result is infinitely bad, whatever the others are.
        ({4: (0.0, math.nan), 2: (9.0, 9.0)}, "minimize", 2),
        ({4: (9.0, math.nan), 2: (0.0, 0.0)}, "maximize", 2),
        ({4: (math.nan, math.nan)}, "minimize", None),
    ],
)
def test_the_best_mean_wins(results, direction, winner):
    assert replace(RULE, direction=direction).winner(finalists_with(results)) == winner


def test_nobody_wins_while_one_is_missing():
    finalists = Finalists((4, 2), first_seed=1, seeds=2, results={4: (0.0, 0.0)})
    assert finalists.missing == (2,)
    assert RULE.winner(finalists) is None


ASKED = [{"event": "ask", "trial": number, "values": {}, "source": None} for number in range(3)]
CHOSEN = {"event": "finalists", "trials": [1, 0], "first_seed": 4, "seeds": 2}
RESULT = {"event": "finalist", "trial": 0, "values": [0.5, None]}
WINNER = {"event": "winner", "trial": 1}


def test_the_journal_tells_what_was_chosen_and_what_came_of_it():
    finalists = StudyState.of([*ASKED, CHOSEN, RESULT, WINNER]).finalists
    assert (finalists.trials, finalists.first_seed, finalists.seeds) == ((1, 0), 4, 2)
    assert finalists.results[0][0] == 0.5
    assert math.isnan(finalists.results[0][1])
    assert (finalists.missing, finalists.winner) == ((1,), 1)


def test_a_search_that_goes_on_chooses_again():
    more = {"event": "ask", "trial": 3, "values": {}, "source": None}
    assert StudyState.of([*ASKED, CHOSEN, RESULT, more]).finalists is None


@pytest.mark.parametrize(
    "wrong",
    [
        {**CHOSEN, "trials": [7]},
        {**CHOSEN, "seeds": "two"},
        {**RESULT, "trial": 2},
        {**RESULT, "values": [0.5]},
        {**RESULT, "values": ["low", 0.5]},
        {**WINNER, "trial": 2},
    ],
)
def test_what_makes_no_sense_in_a_journal_is_found(wrong):
    with pytest.raises(StorageError, match="makes no sense there"):
        StudyState.of([*ASKED, CHOSEN, wrong])


def test_results_before_the_choice_make_no_sense():
    with pytest.raises(StorageError, match=r"event 4 of the journal \(finalist\)"):
        StudyState.of([*ASKED, RESULT])
