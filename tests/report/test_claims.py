"""Verdicts on constructed results: each outcome for each kind of check, and how often it comes."""

import numpy as np
import pytest

from dmu_search.paper.published import Check, published
from dmu_search.report.claims import (
    AS_CLAIMED,
    CONTRARY,
    FAILS,
    HOLDS,
    PARTLY,
    UNTESTED,
    decide,
    verdicts_of,
)
from dmu_search.report.figure_claims import findings_of_figure
from dmu_search.report.findings import Finding
from dmu_search.report.samples import results_of
from dmu_search.report.table_claims import findings_of_table
from tests.results.runs import NOWHERE, paper_run, recorded

GOOD, BAD = (3.1, 3.2, 3.3, 3.15, 3.25), (4.1, 4.2, 4.3, 4.15, 4.25)
SCATTERED = (1.0, 9.0, 0.5, 10.0, 5.0)
UNSEEN = "no difference seen"


def table(**results):
    """PolyMusic's claims, of runs such as ``dmu_1=GOOD``."""
    runs = []
    for name, tests in results.items():
        model, depth = name.split("_")
        runs.append(recorded(paper_run("polymusic", model, int(depth)), tests, run_id=name))
    return results_of("polymusic", runs, sources=["paper"], output_dir=NOWHERE)


def figure(epochs=100, **reached):
    """Adding, of runs per model that fall below 1e-6 at the given epoch; None for never."""
    runs = []
    for model, reached_at in reached.items():
        curves = [
            tuple(1e-7 if at is not None and now >= at else 1.0 for now in range(1, 31))
            for at in reached_at
        ]
        run = paper_run("adding", model, 2)
        runs.append(recorded(run, run_id=model, curves=curves, epochs=epochs, metric="mse"))
    return results_of("adding", runs, sources=["paper"], output_dir=NOWHERE)


def findings(results, kind, model, than=(), at=(), measures=("test",)):
    read = findings_of_table if results.record.figure is None else findings_of_figure
    return list(
        read(results, results.samples("paper"), check=Check(kind, model, than, at, measures))
    )


def outcome(*given, **named):
    return decide(findings(*given, **named)).outcome


def test_the_claim_of_table_3_is_about_means_over_depths_and_all_measures():
    runs = {f"{model}_{depth}": GOOD if model == "dmu" else BAD
            for model in ("dmu", "rhn") for depth in (1, 2)}  # fmt: skip
    (verdict,) = verdicts_of(table(**runs, dmu_5=GOOD[:1], rhn_5=BAD), ["paper"])
    test, train, *spreads, deepest = verdict.evidence
    assert test.words == (
        "depths 1, 2, test loss: RHN less DMU +1.000 [+0.925, +1.075], p < 0.001; the paper's "
        "+0.088 lies outside, p < 0.001 (power 96%)"
    )
    assert test.details[0] == ("depth 1: +1.000 [+0.885, +1.115], 5 and 5 runs; the paper's +0.070")
    assert test.details[2] == "depth 5: 1 and 5 runs, not tested"
    assert train.words.startswith("depths 1, 2, train loss: RHN less DMU +1.000")
    assert [each.outcome for each in verdict.evidence] == [
        AS_CLAIMED, AS_CLAIMED, UNSEEN, UNSEEN, UNTESTED
    ]  # fmt: skip
    assert deepest.words.endswith("too few runs")
    assert "spread of the test loss" in spreads[0].words
    assert (verdict.outcome, verdict.words) == (PARTLY, "2 of 4 comparisons")


def test_who_the_other_way_is_for_is_said():
    def said(**runs):
        found = findings(table(**runs), "better", "dmu", ("rhn",), (1,))
        return decide(found).outcome, decide(found).words

    assert said(dmu_1=GOOD, rhn_1=BAD) == (HOLDS, "")
    assert said(dmu_1=BAD, rhn_1=GOOD) == (FAILS, "1 of 1 the other way, in RHN's favour")
    assert said(dmu_1=GOOD, rhn_1=GOOD) == (UNSEEN, "")
    close = [3.2 + (value - 3.2) / 50 for value in GOOD]
    assert said(dmu_1=close, rhn_1=close) == ("no difference, within 0.035", "")
    assert said(dmu_1=GOOD, rhn_1=BAD[:1]) == (UNTESTED, "")
    assert said(dmu_1=GOOD) == (UNTESTED, "")


def test_where_a_depth_lacks_runs_the_claim_holds_where_it_was_tested():
    found = findings(table(dmu_1=GOOD, rhn_1=BAD), "better", "dmu", ("rhn",), (1,))
    found += findings(table(), "better", "rhn", ("dmu",), (10,))
    decision = decide(found)
    assert decision.outcome == HOLDS
    assert decision.words == "1 of 2 comparisons; the others lack runs"


def replications(draw, studies, depths):
    """How often the rule sees DMU's advantage at ``depths``, were the paper's numbers the truth."""
    results = published("polymusic").results
    counts = dict.fromkeys((AS_CLAIMED, "outside"), 0)
    for _ in range(studies):
        runs = {}
        for model in ("dmu", "rhn"):
            for depth in depths:
                cell = results[model][depth]["test"]
                runs[f"{model}_{depth}"] = tuple(draw.normal(cell.mean, cell.std, 5))
        (found,) = findings(table(**runs), "better", "dmu", ("rhn",), depths)
        counts[AS_CLAIMED] += decide([found]).each == (AS_CLAIMED,)
        counts["outside"] += "lies outside" in found.words
    return {name: count / studies for name, count in counts.items()}


@pytest.mark.slow
def test_were_the_papers_numbers_true_the_rule_would_say_so():
    found = replications(np.random.default_rng(0), 150, (1, 2, 5))
    assert found[AS_CLAIMED] > 0.93
    # The paper's own runs are taken for as uncertain as ours: less than a twentieth is excluded.
    assert found["outside"] < 0.05


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
    spread = {"at": (1,), "measures": ("test_spread",)}
    assert outcome(results, "better", "dmu", ("rhn",), **spread) == HOLDS
    assert outcome(results, "better", "rhn", ("dmu",), **spread) == FAILS
    alike = table(dmu_1=GOOD, rhn_1=BAD)
    assert outcome(alike, "better", "dmu", ("rhn",), **spread) == UNSEEN


def test_best_depth():
    results = table(dmu_1=GOOD, dmu_2=BAD, dmu_5=BAD, dmu_10=BAD)
    assert outcome(results, "best_depth", "dmu", at=(1, 2)) == HOLDS
    assert outcome(results, "best_depth", "dmu", at=(5, 10)) == FAILS
    assert outcome(table(dmu_1=GOOD), "best_depth", "dmu", at=(1, 2)) == UNTESTED


def test_sooner_or_more_often_is_better():
    early, late = [5] * 20, [20] * 20
    some, none = [5] * 6 + [None] * 14, [None] * 20
    assert outcome(figure(dmu=early, gru=late), "better", "dmu", ("gru",)) == HOLDS
    assert outcome(figure(dmu=early, gru=some), "better", "dmu", ("gru",)) == HOLDS
    assert outcome(figure(dmu=late, gru=early), "better", "dmu", ("gru",)) == FAILS
    assert outcome(figure(dmu=none, gru=none), "better", "dmu", ("gru",)) == UNTESTED
    assert outcome(figure(dmu=early), "better", "dmu", ("gru",)) == UNTESTED


def test_similar_has_to_be_shown_within_the_margin():
    def similar(dmu, gru, epochs=100):
        curves = {"dmu": [5] * dmu + [None] * (51 - dmu), "gru": [25] * gru + [None] * (51 - gru)}
        found = findings(figure(epochs, **curves), "similar", "dmu", ("gru",), (1e-2,))
        return decide(found).outcome, decide(found).words

    assert similar(51, 51) == (HOLDS, "")
    assert similar(51, 50) == (HOLDS, "")
    # Four runs of 51 are no difference that Fisher's test sees, and no equality either.
    assert similar(51, 47) == ("not shown alike", "")
    assert similar(51, 42) == (FAILS, "1 of 1 the other way, in DMU's favour")
    assert similar(40, 51) == (FAILS, "1 of 1 the other way, in GRU's favour")
    assert similar(51, 51, epochs=50) == (UNTESTED, "")


def test_never_and_partly_do_not_hang_on_one_run():
    def share(kind, reached, epochs=100):
        curves = [5] * reached + [None] * (51 - reached)
        return outcome(figure(epochs, rnn=curves), kind, "rnn", at=(1e-2,))

    assert [share("never", reached) for reached in (0, 1, 2, 12)] == [
        HOLDS, HOLDS, "not shown", FAILS
    ]  # fmt: skip
    assert [share("partly", reached) for reached in (0, 5, 22, 51)] == [
        FAILS, "not shown", HOLDS, FAILS
    ]  # fmt: skip
    assert outcome(figure(), "never", "rnn") == UNTESTED
    # Who stops early has not failed.
    assert share("never", 0, epochs=50) == UNTESTED
    assert share("never", 12, epochs=50) == FAILS


def test_each_of_several_comparisons_is_corrected_unless_all_go_the_same_way():
    kept = [Finding("", True, 0.001)] * 3
    assert decide([*kept, Finding("", False, 0.06)]).outcome == PARTLY
    assert decide([*kept, Finding("", True, 0.04)]).outcome == HOLDS
    lost = Finding("", False, 0.02, favours="rhn")
    assert decide([lost, Finding("", False, 0.5)]).each == (CONTRARY, UNSEEN)
    assert decide([Finding("", False, 0.03), Finding("", False, 0.5)]).each == (
        "not shown once corrected", UNSEEN
    )  # fmt: skip
    assert decide([*kept, lost]).words == (
        "3 of 4 comparisons; 1 of 4 the other way, in RHN's favour"
    )


def test_a_threshold_that_nobody_reached_says_nothing():
    silent = Finding("", False, silent=True)
    assert decide([Finding("", True, 0.01), silent]).outcome == HOLDS
    assert decide([silent]).outcome == UNTESTED
