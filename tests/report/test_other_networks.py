"""What the report says of runs that no table of the paper has a place for."""

from dataclasses import replace

from dmu_search.report.build import FIGURES, TABLES, build_report
from dmu_search.report.other_networks import other_networks_section
from tests.results.runs import paper_run, recorded

# The paper has no LSTM on polymusic.
LSTM = replace(paper_run(), model="lstm", network=replace(paper_run().network, model="lstm"))
FASTER = replace(LSTM, training=replace(LSTM.training, learning_rate=0.5))


def test_runs_of_the_papers_networks_are_none_of_them():
    assert other_networks_section([recorded(paper_run(), [3.5])]) is None


def test_other_networks_have_a_row_per_setting():
    runs = [
        recorded(LSTM, [3.0, 4.0], run_id="a"),
        recorded(FASTER, [5.0], run_id="b"),
        recorded(LSTM, [9.0], run_id="c", status=None),
    ]
    section = other_networks_section(runs)
    assert section is not None
    first, second = (row.cells for row in section.tables[0].rows)
    assert first[:3] == second[:3] == ("polymusic", "lstm", 1)
    assert (first[4], second[4]) == ("learning_rate=0.005", "learning_rate=0.5")
    assert first[5:8] == ("nottingham", "2 x 500", "nll_nats")
    # Train is one less than validation and test; the deviation of 3 and 4 is 0.707.
    assert first[8::2] == (2.5, 3.5, 3.5)
    assert round(first[13], 3) == 0.707
    assert second[13] is None


def test_they_stand_in_the_whole_report_only(tmp_path):
    def names(tables):
        made = build_report(
            [recorded(LSTM, [3.0])],
            tables=tables,
            figures=FIGURES,
            sources=["paper"],
            output_dir=tmp_path,
        )
        return [section.name for section in made.sections]

    assert names(TABLES)[-1] == "other-networks"
    assert "other-networks" not in names([3])
