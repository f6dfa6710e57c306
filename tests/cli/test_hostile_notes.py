"""A study of others in MLflow: its note is Markdown, and what they named is no markup there."""

from collections import Counter
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from dmu_search.cli.study_pages import note
from dmu_search.study.files import Study
from dmu_search.tune.progress import TrialView
from dmu_search.tune.search import BestTrial, Outcome
from tests.studies import plan_studies

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) ![i](http://x)"
    "\x1b[31m | *b* _i_ `c` \\<b> &lt; <http://x> ~~s~~ \n\n# h\n\n    code\n\n[x]: http://x"
)
MARKUP = {"html_inline", "html_block", "link_open", "image", "em_open", "code_inline", "s_open"}
MARKUP |= {"fence", "code_block", "heading_open", "bullet_list_open"}


class Data:
    name = HOSTILE


def tokens(markdown):
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    blocks = reader.parse(markdown)
    return [*blocks, *(inner for block in blocks for inner in block.children or ())]


@pytest.fixture
def study():
    (settings,) = plan_studies(["task=adding", "search.trials=1"])
    return Study(HOSTILE, HOSTILE, settings)


@pytest.mark.parametrize("finished", [True, False])
def test_hostile_names_are_no_markup_in_the_note(study, finished):
    values = dict.fromkeys(study.settings.space, HOSTILE)
    view = TrialView(0, "finished", 1, 0.5, values, HOSTILE)
    best = BestTrial(0, HOSTILE, 0.5, values, HOSTILE, {}, None)
    outcome = Outcome(best if finished else None, Counter(finished=1), {}, 0, "", None)
    found = tokens(note(study, outcome, data=Data(), trials=[view], confirmation=None))
    assert not MARKUP & {token.type for token in found}
    shown = "".join(token.content for token in found if token.type == "text")
    assert "<script>alert(1)</script>" in shown
    assert "[x](javascript:alert(1))" in shown
    # A hostile name opens no further column or row.
    rows = 2 if finished else 0
    assert sum(token.type == "tr_open" for token in found) == rows
    columns = len(study.settings.space) + 4
    assert sum(token.type in ("th_open", "td_open") for token in found) == rows * columns


def test_an_honest_note_keeps_its_words(study):
    values = dict.fromkeys(study.settings.space, 0.005)
    view = TrialView(0, "finished", 1, 0.5, values, "paper")
    outcome = Outcome(
        BestTrial(0, "r", 0.5, values, "paper", {}, None), Counter(finished=1), {}, 0, "", None
    )
    written = note(
        replace(study, name="mine-1.2"), outcome, data=Data(), trials=[view], confirmation=None
    )
    assert "(paper setting)" in written
    assert "| 1 | 0 | 0.5000 | paper | 0.005 |" in written
