"""Tables 1 and 2: every weight count beside the paper's."""

import pytest

from dmu_search.paper.published import published
from dmu_search.report.networks import (
    counted_weights,
    networks_section,
    printed_like,
    widths_text,
)
from tests.tables import IN_PAPER

# Counted for the DMUs of Table 2, whose one column of weights is the RHN's.
TABLE_2_DMU = {
    "polymusic": {1: 46_688, 2: 66_578, 5: 126_896, 10: 228_976},
    "natlang": {1: 1_693_100, 2: 1_715_126, 5: 1_775_336, 10: 1_877_356},
}
COLUMNS = ("task", "depth", "model", "widths", "weights, ours", "as printed", "weights, paper")


def rows(number, tasks):
    (table,) = networks_section(number, tasks).tables
    assert tuple(column.heading for column in table.columns[:7]) == COLUMNS
    return table, {tuple(row.cells[:3]): row.cells[3:] for row in table.rows}


def test_table_1_is_exact():
    table, found = rows(1, ("adding", "tempord", "noiseseq"))
    for task in ("adding", "tempord", "noiseseq"):
        for model in ("rnn", "lstm", "gru", "dmu"):
            _, ours, as_printed, paper, agree = found[task, 2, model]
            assert (str(ours), as_printed, agree) == (paper, paper, "yes")
    assert found["adding", 2, "dmu"][:2] == ("(5 x 2)", 106)
    assert found["noiseseq", 2, "dmu"][:2] == ("(5, 4)", 573)
    assert table.notes[0] == (
        "12 of 12 counts agree with the paper as printed. 3 networks are the release's alone."
    )


@pytest.mark.parametrize("task", [task for task in IN_PAPER if published(task).table is not None])
def test_table_2_agrees_for_every_rhn_to_the_precision_printed(task):
    _, found = rows(2, (task,))
    for depth in published(task).depths:
        _, _, as_printed, paper, agree = found[task, depth, "rhn"]
        assert (as_printed, agree) == (paper, "yes")


@pytest.mark.parametrize("task", TABLE_2_DMU)
def test_table_2_dmu_counts_are_exact(task):
    for depth, count in TABLE_2_DMU[task].items():
        assert (
            counted_weights(task, "dmu", widths=published(task).widths["paper"]["dmu"][depth])
            == count
        )


@pytest.mark.parametrize(
    ("count", "printed", "text"),
    [
        (46_688, "46.9K", "46.7K"),
        (127_488, "1K", "127K"),
        (1_693_100, "1.7M", "1.7M"),
        (106, "99", "106"),
    ],
)
def test_counts_are_printed_like_the_papers(count, printed, text):
    assert printed_like(count, printed) == text


def test_a_printed_count_that_is_none_is_an_error():
    with pytest.raises(ValueError, match=r"got '46\.7 K'"):
        printed_like(1, "46.7 K")


def test_widths():
    assert widths_text((300, 300, 300, 300, 200)) == "(300 x 4, 200)"
    assert widths_text((100,)) == "(100)"
