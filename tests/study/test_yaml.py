"""Faults in the YAML of a configuration root are reported with their file."""

import shutil

import pytest

from dmu_search.config import compose
from dmu_search.config.roots import configuration_root
from dmu_search.errors import ConfigError
from dmu_search.paper import published
from tests.studies import plan_studies


@pytest.fixture
def root(tmp_path, monkeypatch):
    copy = tmp_path / "search_spaces"
    shutil.copytree(configuration_root(), copy)
    for module in (compose, published):
        monkeypatch.setattr(module, "configuration_root", lambda: copy)
    return copy


def spoil(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_bad_distribution_is_reported_with_its_file(root):
    spoil(root / "task" / "polymusic.yaml", "interval(5e-4,5e-2)", "interval(0.0,5e-2)")
    with pytest.raises(
        ConfigError,
        match=r"search_spaces/task/polymusic.yaml: training.learning_rate: the lower bound of a "
        r"log scale must be > 0, got 0.0; use a small positive bound such as 1e-5",
    ):
        plan_studies([])


def test_an_unknown_key_is_reported_with_its_file(root):
    spoil(root / "model" / "dmu.yaml", "z_bias:", "z_bais:")
    with pytest.raises(ConfigError, match=r"model/dmu.yaml: network.z_bais: there is no such key"):
        plan_studies([])


def test_a_fault_in_a_file_that_tasks_share_is_reported_there(root):
    spoil(root / "task" / "translation.yaml", "max_epochs: 50", "max_epochs: 0")
    message = r"search_spaces/task/translation.yaml: training.max_epochs: must be a whole number"
    with pytest.raises(ConfigError, match=message):
        plan_studies(["task=ger2eng"])


def test_files_are_checked_whole(root):
    # Even what the command line replaces: the next command would meet it.
    spoil(root / "config.yaml", "trials: 50", "trials: 0")
    with pytest.raises(ConfigError, match=r"config.yaml: search.trials: must be a whole number"):
        plan_studies(["search.trials=3"])
