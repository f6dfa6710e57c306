"""Verdicts on constructed results: each outcome for each kind of check."""

import pytest

from dmu_search.paper.published import Check
from dmu_search.report.claims import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Finding,
    _findings,
    outcome,
    verdicts_of,
)
from dmu_search.report.samples import results_of
from tests.results.runs import NOWHERE, paper_run, recorded

GOOD, BAD = (3.1, 3.2, 3.3, 3.15, 3.25), (4.1, 4.2, 4.3, 4.15, 4.25)
SCATTERED = (1.0, 9.0, 0.5, 10.0, 5.0)


def table(**results):
    """PolyMusic's claims, of runs such as ``dmu_1=GOOD``."""
    runs = []
    for name, tests in results.items():
        model, depth = name.split("_")
        runs.append(recorded(paper_run("polymusic", model, int(depth)), tests, run_id=name))
    return results_of("polymusic", runs, sources=["paper"], output_dir=NOWHERE)


def figure(epochs=100, **reached):
    """Adding, of 20 runs per model that fall below 1e-6 at the given epoch; None for never."""
    runs = []
    for model, reached_at in reached.items():
        curves = [
            tuple(1e-7 if at is not None and now >= at else 1.0 for now in range(1, 31))
            for at in reached_at
        ]
        run = paper_run("adding", model, 2)
        runs.append(recorded(run, run_id=model, curves=curves, epochs=epochs, metric="mse"))
    return results_of("adding", runs, sources=["paper"], output_dir=NOWHERE)


def decide(results, kind, model, than=(), at=()):
    findings = list(
        _findings(results, results.samples("paper"), check=Check(kind, model, than, at))
    )
    return outcome(findings)


PAPERS = {"dmu_1": GOOD, "rhn_1": BAD, "dmu_2": GOOD, "rhn_2": BAD, "dmu_5": GOOD, "rhn_5": BAD}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"dmu_10": BAD, "rhn_10": GOOD}, HOLDS),
        ({"dmu_10": GOOD, "rhn_10": BAD}, FAILS),
        ({"dmu_10": GOOD, "rhn_10": GOOD}, UNDECIDED),
        ({"dmu_10": GOOD}, UNDECIDED),
        ({"dmu_10": BAD[:1], "rhn_10": GOOD[:1]}, UNDECIDED),
    ],
)
def test_the_claim_of_table_3(changed, expected):
    (verdict,) = verdicts_of(table(**PAPERS, **changed), ["paper"])
    assert verdict.outcome == expected
    assert verdict.evidence[0] == (
        "depth 1, dmu and rhn: test means 3.200 and 4.200 over 5 and 5 runs, p = 0.008"
    )
    assert len(verdict.evidence) == 4


def test_a_claim_is_also_judged_with_other_settings_that_have_runs():
    verdicts = verdicts_of(table(dmu_1=GOOD), ["paper", "released", "best"])
    assert [each.settings for each in verdicts] == ["paper's settings"]
    # The RHN's settings are the same in paper and release.
    runs = [recorded(paper_run("polymusic", "rhn", 1), GOOD)]
    results = results_of("polymusic", runs, sources=["paper", "released"], output_dir=NOWHERE)
    verdicts = verdicts_of(results, ["paper", "released"])
    assert [each.settings for each in verdicts] == ["paper's settings", "released settings"]


def test_a_smaller_budget_is_named():
    runs = [recorded(paper_run(), GOOD, epochs=100)]
    (verdict,) = verdicts_of(
        results_of("polymusic", runs, sources=["paper"], output_dir=NOWHERE), ["paper"]
    )
    assert verdict.settings == "paper's settings, 100 of 500 epochs"


def test_spread():
    results = table(dmu_1=GOOD, rhn_1=SCATTERED)
    assert decide(results, "steadier", "dmu", ("rhn",), (1,)) == HOLDS
    assert decide(results, "steadier", "rhn", ("dmu",), (1,)) == FAILS
    assert decide(table(dmu_1=GOOD, rhn_1=BAD), "steadier", "dmu", ("rhn",), (1,)) == UNDECIDED


def test_best_depth():
    results = table(dmu_1=GOOD, dmu_2=BAD, dmu_5=BAD, dmu_10=BAD)
    assert decide(results, "best_depth", "dmu", at=(1, 2)) == HOLDS
    assert decide(results, "best_depth", "dmu", at=(5, 10)) == FAILS
    assert decide(table(dmu_1=GOOD), "best_depth", "dmu", at=(1, 2)) == UNDECIDED


def test_sooner_or_more_often_is_better():
    early, late = [5] * 20, [20] * 20
    some, none = [5] * 6 + [None] * 14, [None] * 20
    assert decide(figure(dmu=early, gru=late), "better", "dmu", ("gru",)) == HOLDS
    assert decide(figure(dmu=early, gru=some), "better", "dmu", ("gru",)) == HOLDS
    assert decide(figure(dmu=late, gru=early), "better", "dmu", ("gru",)) == FAILS
    assert decide(figure(dmu=none, gru=none), "better", "dmu", ("gru",)) == UNDECIDED
    assert decide(figure(dmu=early), "better", "dmu", ("gru",)) == UNDECIDED


def test_similar_means_no_significant_difference_in_as_many_runs_as_the_paper_has():
    def similar(epochs=100, **reached):
        return decide(figure(epochs, **reached), "similar", "dmu", ("gru",))

    all_, none = [5] * 51, [None] * 51
    assert similar(dmu=all_, gru=[25] * 51) == HOLDS
    assert similar(dmu=all_, gru=none) == FAILS
    assert similar(dmu=all_[:5], gru=all_[:5]) == UNDECIDED
    assert similar(50, dmu=all_, gru=all_) == UNDECIDED


def test_never_and_partly():
    none, some, all_ = [None] * 20, [5] + [None] * 19, [5] * 20
    assert decide(figure(rnn=none), "never", "rnn") == HOLDS
    assert decide(figure(rnn=some), "never", "rnn") == FAILS
    assert decide(figure(rnn=some), "partly", "rnn", at=(1e-2,)) == HOLDS
    assert decide(figure(rnn=all_), "partly", "rnn", at=(1e-2,)) == FAILS
    assert decide(figure(), "never", "rnn") == UNDECIDED


def test_who_stops_early_has_not_failed():
    none, some = [None] * 20, [5] + [None] * 19
    assert decide(figure(50, rnn=none), "never", "rnn") == UNDECIDED
    assert decide(figure(50, rnn=some), "never", "rnn") == FAILS
    assert decide(figure(50, rnn=some), "partly", "rnn", at=(1e-2,)) == UNDECIDED


def test_one_of_several_comparisons_must_be_clear_to_refute():
    kept = [Finding("", True, 0.001)] * 3
    assert outcome([*kept, Finding("", False, 0.02)]) == UNDECIDED
    assert outcome([*kept, Finding("", False, 0.01)]) == FAILS


def test_a_threshold_that_nobody_reached_says_nothing():
    silent = Finding("", silent=True)
    assert outcome([Finding("", True, 0.01), silent]) == HOLDS
    assert outcome([Finding("", False, 0.04), silent]) == FAILS
    assert outcome([silent]) == UNDECIDED
