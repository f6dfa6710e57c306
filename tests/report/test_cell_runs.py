from dataclasses import replace

import pytest

from dmu_search.paper.table_cells import find_cell
from dmu_search.report.cell_runs import runs_of_cell, seeds_text
from tests.results.runs import DIVERGED, paper_run, recorded

PAPER = paper_run()
DMU = find_cell("table-3/dmu-d1")


def listed(runs, tmp_path, cell=DMU):
    return {
        each.names or each.settings: each for each in runs_of_cell(cell, runs, output_dir=tmp_path)
    }


def test_a_number_leads_to_its_runs(tmp_path):
    curves = [(5.0, 4.0), DIVERGED]
    runs = [
        recorded(PAPER, (3.0, 3.2), run_id="a"),
        recorded(PAPER, (3.4, 9.0), run_id="b", first_seed=2, curves=curves),
        recorded(PAPER, (1.0,), run_id="copy"),
        recorded(PAPER, (1.0,), run_id="open", first_seed=7, status=None),
        recorded(PAPER, (1.0,), run_id="short", epochs=5),
        recorded(PAPER, (1.0,), run_id="z-other", sha256="1" * 64),
        recorded(paper_run(**{"network.z_bias": 0.0}), (4.0,), run_id="variant"),
    ]
    found = listed(runs, tmp_path)
    paper = found["table-3/dmu-d1/paper",]
    assert [(run.run_id, [each.seed for each in own]) for run, own in paper.trainings] == [
        ("a", [0, 1]),
        ("b", [2, 3]),
    ]
    assert "test nll nats 3.200 ± 0.200, the paper's 3.528 ± 0.025" in paper.sentence
    assert "of 3 runs, seeds 0 to 3; 1 that diverged left out, over 500 epochs" in paper.sentence
    assert {run.run_id: reason for run, reason in paper.apart} == {
        "copy": "its seeds are counted already, or chose the setting",
        "open": "cut off after epoch 2",
        "short": "over 5 epochs only",
        "z-other": f"on other data: nottingham {'1' * 12}",
    }
    assert found["paper's with z_bias=0"].sample.objective("test") == (4.0,)
    alone = listed(runs, tmp_path, find_cell("table-3/dmu-d1/paper"))
    assert list(alone) == [("table-3/dmu-d1/paper",)]


def test_what_is_missing_is_told_with_its_command_and_cost(tmp_path):
    near = replace(recorded(PAPER, (3.0,) * 5), epochs=500, seconds=3600.0)
    deep = find_cell("table-3/dmu-d2")
    (missing,) = (
        each for names, each in listed([near], tmp_path, deep).items() if "paper" in names[0]
    )
    assert missing.sample is None
    assert missing.sentence.startswith("No runs with paper's settings of polymusic dmu at depth 2")
    assert "`python -m dmu_search reproduce source=paper task=polymusic model=dmu depth=2`" in (
        missing.sentence
    )
    # Twice the layers, as many runs over as many epochs.
    assert missing.sentence.endswith("about 2 h 00 min of one core, judged by a-run.")
    (best,) = listed([], tmp_path, find_cell("table-4/rhn-d5/best")).values()
    assert "`python -m dmu_search tune task=natlang model=rhn depth=5`" in best.sentence


def test_a_cell_of_a_figure_counts_runs(tmp_path):
    curves = [(1.0, 5e-3), (1.0, 1.0)]
    run = recorded(paper_run("adding", "gru", 2), curves=curves, epochs=2)
    found = listed([run], tmp_path, find_cell("figure-2/gru"))
    both = found["figure-2/gru/paper", "figure-2/gru/released"]
    assert "below 1e-2 / 1e-3 / 1e-4 / 1e-5 / 1e-6: 1 / 0 / 0 / 0 / 0 of 2" in both.sentence
    assert "seeds 0 to 1, over 2 epochs" in both.sentence


@pytest.mark.parametrize(
    ("seeds", "text"), [([3], "seed 3"), ([0, 1, 2, 7], "seeds 0 to 2, 7"), ([1, 3], "seeds 1, 3")]
)
def test_seeds_in_words(seeds, text):
    assert seeds_text(seeds) == text
