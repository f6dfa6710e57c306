"""A study of others in MLflow: its note is Markdown, and what they named is no markup there."""

from collections import Counter

import pytest
from markdown_it import MarkdownIt

from dmu_search.report.study_note import note
from dmu_search.study.trials import TrialState
from tests.studies import plan_studies

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) ![i](http://x)"
    "\x1b[31m | *b* _i_ `c` \\<b> &lt; <http://x> ~~s~~ \n\n# h\n\n    code\n\n[x]: http://x"
)
MARKUP = {"html_inline", "html_block", "link_open", "image", "em_open", "code_inline", "s_open"}
MARKUP |= {"fence", "code_block", "heading_open", "bullet_list_open"}


def tokens(markdown):
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    blocks = reader.parse(markdown)
    return [*blocks, *(inner for block in blocks for inner in block.children or ())]


@pytest.fixture
def settings():
    (one,) = plan_studies(["task=adding", "search.trials=1"])
    return one


def written(settings, text, *, finished=True, source=None, trials=1):
    values = dict.fromkeys(settings.space, text)
    status = "finished" if finished else "stopped early"
    made = {
        number: TrialState(number, values, source, status, {1: 0.5 + number})
        for number in range(trials)
    }
    shares = {"fANOVA": {str(text): 1.0}}
    return note(made, settings, confirmation=None, why_unconfirmed=str(text), importances=shares)


@pytest.mark.parametrize("finished", [True, False])
def test_hostile_names_are_no_markup_in_the_note(settings, finished):
    found, honest = (
        tokens(written(settings, text, finished=finished, source=text))
        for text in (HOSTILE, "honest")
    )

    def markup(those):
        return Counter(token.type for token in those if token.type in MARKUP)

    assert markup(found) == markup(honest)
    shown = "".join(token.content for token in found if token.type == "text")
    assert "<script>alert(1)</script>" in shown
    assert "[x](javascript:alert(1))" in shown
    # A hostile name opens no further column or row.
    assert sum(token.type == "tr_open" for token in found) == 2
    columns = len(settings.space) + 4
    assert sum(token.type in ("th_open", "td_open") for token in found) == 2 * columns


def test_an_honest_note_keeps_its_words(settings):
    text = written(settings, 0.005, source="paper")
    assert "## Trial 0 won: val_mse 0.5000" in text
    assert "(the paper setting)" in text
    assert "- unconfirmed: 0.005" in text
    assert "stopped early at 1" in written(settings, 0.005, finished=False)


def test_a_note_of_many_trials_fits_into_a_tag_of_mlflow(settings):
    text = written(settings, 0.005, trials=5000)
    assert len(text) < 8000
    shown = text.count("finished |") + text.count("finished** |")
    assert f"{5000 - shown} more are in `study.html`" in text
