from dataclasses import replace
from pathlib import Path

import pytest

from dmu_search.config.settings import build
from dmu_search.data.settings import DataSettings
from dmu_search.names import TASKS
from dmu_search.paper.data import default_data, is_published_data
from dmu_search.paper.published import published


@pytest.mark.parametrize("task", TASKS)
def test_what_a_task_is_on_by_default_is_what_the_papers_results_are_on(task):
    settings = build(DataSettings, "data", values=default_data(task))
    assert is_published_data(task, settings, name=published(task).data or task)
    elsewhere = replace(settings, root=Path("a"), mirror=Path("b"))
    assert is_published_data(task, elsewhere, name=published(task).data or task)
    assert not is_published_data(task, settings, name="mine")


@pytest.mark.parametrize(
    ("task", "name", "changed", "is_it"),
    [
        ("polymusic", "nottingham", {"corpus": "auto"}, True),
        ("polymusic", "demo", {"corpus": "auto"}, False),
        ("polymusic", "nottingham", {"limit": 20}, False),
        ("polymusic", "nottingham (folder)", {"corpus": "my/nottingham"}, False),
        ("natlang", "ptb", {"limit": 100}, False),
        ("spa2eng", "spa-eng", {"pairs": "all"}, False),
        ("spa2eng", "spa-eng", {"pairs_file": "my/spa-eng.zip"}, False),
        ("adding", "adding", {"length": 20}, False),
        ("noiseseq", "noiseseq", {"noise": "fixed"}, False),
    ],
)
def test_other_data_is_told_by_name_and_cut(task, name, changed, is_it):
    settings = replace(build(DataSettings, "data", values=default_data(task)), **changed)
    assert is_published_data(task, settings, name=name) is is_it
