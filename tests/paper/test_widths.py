"""Widths where the paper has none to give."""

import pytest

from dmu_search.errors import ConfigError
from dmu_search.paper.published import Published, published
from dmu_search.paper.widths import DEFAULT_WIDTH, resolve_widths


def test_a_task_that_the_paper_does_not_have_has_an_empty_record():
    record = published("chess")
    assert record == Published()
    assert not record.in_paper
    assert record.networks() == ()
    assert record.default_depth("dmu") == 1
    assert record.runs == 5


def test_its_networks_have_a_stated_width():
    widths, note = resolve_widths("chess", "dmu", depth=2, rule="auto")
    assert widths == (DEFAULT_WIDTH, DEFAULT_WIDTH)
    assert note.startswith("widths of 100 per layer: the paper has no networks on chess")
    assert resolve_widths("chess", "dmu", depth=2, rule=(3, 4)) == ((3, 4), "widths as given")


@pytest.mark.parametrize("rule", ["paper", "matched"])
def test_what_only_the_paper_could_give_is_refused(rule):
    with pytest.raises(ConfigError, match=f"network.widths={rule}: the paper has no networks on c"):
        resolve_widths("chess", "dmu", depth=2, rule=rule)
