import pytest

from dmu_search.errors import ConfigError
from dmu_search.paper.published import published
from dmu_search.paper.table_cells import TableCell, find_cell, names_in_short
from tests.tables import IN_PAPER


def test_every_network_of_every_table_and_figure_is_found_by_its_name():
    cells = [
        TableCell(task, model, depth)
        for task in IN_PAPER
        for model, depth in published(task).networks()
    ]
    assert len({cell.name for cell in cells}) == len(cells) == 55
    assert [find_cell(cell.name) for cell in cells] == cells
    for cell in cells:
        for source in cell.sources:
            assert find_cell(f"{cell.name}/{source}").sources == (source,)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("table-3/dmu-d1/released", TableCell("polymusic", "dmu", 1, "released")),
        ("table-5/ger2eng-rhn-d10", TableCell("ger2eng", "rhn", 10)),
        ("figure-2/rhn/best", TableCell("adding", "rhn", 3, "best")),
    ],
)
def test_what_a_name_stands_for(name, cell):
    assert find_cell(name) == cell


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("table-3/dmu-d3", "did you mean table-3/dmu-d"),
        ("figure-2/rhn/paper", r"\(did you mean figure-2/rhn/released or figure-2/rhn/best\?\)"),
        ("loss", r"there is no loss; there are table-3/\{dmu,rhn\}-d\{1,2,5,10\}, table-4/"),
    ],
)
def test_an_unknown_name_is_answered_by_the_known_ones(name, meant):
    with pytest.raises(ConfigError, match=meant) as fault:
        find_cell(name)
    assert all(each in str(fault.value) for each in names_in_short())
