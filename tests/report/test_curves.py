import csv
import io
import random

import pytest

from dmu_search.report.comma_separated import comma_separated
from dmu_search.report.curves import curves_section, reached_by_epoch
from dmu_search.report.samples import results_of
from dmu_search.results.selection import sample_of
from dmu_search.retraining.exported import write_run_file
from tests.results.runs import DIVERGED, NOWHERE, paper_run, recorded

ADDING = paper_run("adding", "dmu", 2)
SOURCES = ["paper", "released", "best"]


def slowly_counted(curves, threshold, epochs):
    """Go through every run for every epoch."""
    counts = []
    for now in range(epochs + 1):
        count = 0
        for curve in curves:
            reached = False
            for value in curve[:now]:
                reached = reached or value < threshold
            count += reached
        counts.append(count)
    return tuple(counts)


@pytest.mark.parametrize("seed", range(20))
def test_cumulative_counts_against_a_slow_oracle(seed):
    draw = random.Random(seed)
    epochs = draw.randrange(1, 12)
    curves = [
        tuple(
            10 ** draw.uniform(-7, 0) if draw.random() > 0.1 else float("nan")
            for _ in range(epochs)
        )
        for _ in range(draw.randrange(1, 9))
    ]
    run = recorded(ADDING, curves=curves, epochs=epochs)
    sample = sample_of([run], ADDING.setting)
    for threshold in (1e-2, 1e-4, 1e-6):
        counts = reached_by_epoch(sample, threshold)
        assert counts == slowly_counted(curves, threshold, epochs)
        assert list(counts) == sorted(counts)


def section(runs, sources=SOURCES, output_dir=NOWHERE):
    return curves_section(
        results_of("adding", runs, sources=sources, output_dir=output_dir), sources
    )


def test_counts_intervals_and_medians_in_the_table():
    curves = [(1.0, 5e-3, 5e-5), (1.0, 5e-3, 5e-3), (1.0, 1.0, 5e-3), DIVERGED]
    found = section([recorded(ADDING, curves=curves, epochs=3)])
    lines = list(csv.DictReader(io.StringIO(comma_separated(found.tables[0]))))
    paper = next(line for line in lines if (line["model"], line["settings"]) == ("dmu", "paper's"))
    assert paper["runs x epochs"] == "4/51 x 3/100, 1 diverged"
    assert [float(paper[f"< 1e-{power}"]) for power in (2, 3, 4)] == [3, 1, 1]
    assert float(paper["< 1e-2, low"]) < 3 < float(paper["< 1e-2, high"])
    assert paper["median epoch, < 1e-2"] == "2.5"
    assert paper["median epoch, < 1e-3"] == ""


def test_one_curve_per_network_the_rhn_from_the_release():
    runs = [
        recorded(
            paper_run("adding", model, depth, source), run_id=f"{model}{source}", curves=[(1.0,)]
        )
        for model, depth, source in (
            ("dmu", 2, "paper"),
            ("dmu", 2, "released"),
            ("gru", 2, "paper"),
            ("rhn", 3, "released"),
        )
    ]
    (chart,) = section(runs).charts
    assert [series.label for series in chart.series] == ["DMU", "GRU", "RHN (released)"]
    assert chart.runs == 51
    assert chart.title.endswith("; runs x epochs: 1/51 x 500; no runs yet: lstm, rnn")
    assert chart.thresholds == (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def test_the_best_found_settings_have_a_figure_of_their_own(tmp_path):
    best = paper_run("adding", "gru", 2, **{"training.learning_rate": 0.0123})
    write_run_file(tmp_path / "best/adding/gru-d2.yaml", best, provenance={"study": "a-study"})
    runs = [
        recorded(ADDING, run_id="paper's", curves=[(1.0, 1e-3)]),
        recorded(best, run_id="best", curves=[(1e-3, 1e-7)], first_seed=100),
    ]
    published, found = section(runs, output_dir=tmp_path).charts
    assert [series.label for series in published.series] == ["DMU"]
    assert [series.label for series in found.series] == ["GRU"]
    assert (published.name, found.name) == ("figure-2", "figure-2-best")
    assert found.series[0].reached[1e-2][:3] == (0, 1, 1)
    assert "with the best found settings" in found.title
    assert found.title.endswith("no runs yet: dmu, lstm, rnn, rhn")


def test_every_curve_counts_as_many_runs_as_the_papers_however_many_are_recorded():
    first = recorded(ADDING, run_id="first", curves=[(1.0, 1e-3)] * 51)
    more = recorded(ADDING, run_id="more", curves=[(1e-7, 1e-7)] * 4, first_seed=51)
    changed = paper_run("adding", "dmu", 2, **{"data.length": 20})
    variant = recorded(changed, run_id="variant", curves=[(1.0, 1e-3)] * 55)
    found = section([more, first, variant])
    assert found.charts[0].series[0].reached[1e-2][:3] == (0, 0, 51)
    assert max(found.charts[0].series[0].reached[1e-6]) == 0
    assert {row.cells[2] for table in found.tables for row in table.rows} == {"51 x 500"}


def test_without_runs_there_is_no_figure_and_everything_is_named():
    found = section([])
    assert found.charts == ()
    assert found.tables[0].rows == ()
    assert {state for _, cells in found.strips[0].rows for state in cells} == {"none yet", None}
    assert found.missing == (
        "runs with paper's settings of adding dmu, lstm, gru, rnn at depth 2: "
        "`python -m dmu_search reproduce source=paper task=adding model=dmu,lstm,gru,rnn depth=2`",
        "runs with released settings of adding dmu at depth 2: "
        "`python -m dmu_search reproduce source=released task=adding model=dmu depth=2`",
        "runs with released settings of adding rhn at depth 3: "
        "`python -m dmu_search reproduce source=released task=adding model=rhn depth=3`",
        "best settings of adding dmu, lstm, gru, rnn at depth 2: "
        "`python -m dmu_search tune task=adding model=dmu,lstm,gru,rnn depth=2`",
        "best settings of adding rhn at depth 3: "
        "`python -m dmu_search tune task=adding model=rhn depth=3`",
    )
    assert {verdict.outcome for verdict in found.verdicts} == {"not tested"}
