"""The tables of tasks and models: every row names what there is, and what is missing is said."""

import re

import pytest

from dmu_search.config import compose
from dmu_search.config.compose import compose_study
from dmu_search.config.roots import configuration_root
from dmu_search.engine.networks.cells import recurrent_block
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks import task_class
from dmu_search.errors import ConfigError
from dmu_search.names import MODELS, TASKS, named_in_row, signed_loss


@pytest.mark.parametrize("task", TASKS)
def test_every_row_of_a_task_names_what_there_is(task):
    entry = TASKS[task]
    assert task_class(task).direction == entry.direction
    module = f"dmu_search.data.{entry.data}"
    assert callable(named_in_row(module, "load"))
    assert not entry.files or set(entry.files) <= set(named_in_row(module, "FILES"))
    assert (configuration_root() / "task" / f"{task}.yaml").is_file()


@pytest.mark.parametrize("model", MODELS)
def test_every_row_of_a_model_names_what_there_is(model):
    assert recurrent_block(2, NetworkSettings(model, (3,)))[-1].hidden_size == 3
    assert (configuration_root() / "model" / f"{model}.yaml").is_file()


@pytest.mark.parametrize(
    ("module", "attribute"),
    [("dmu_search.data.nothing", "load"), ("dmu_search.data.settings", "load")],
)
def test_a_row_that_names_nothing_says_which_file_must_define_what(module, attribute):
    path = re.escape(module.replace(".", "/"))
    with pytest.raises(ConfigError, match=rf"{path}\.py: must define load, because a row of"):
        named_in_row(module, attribute)


def test_a_fault_inside_a_module_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "faulty.py").write_text("import there_is_no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_package"):
        named_in_row("faulty", "TASK")


def test_an_unknown_task():
    with pytest.raises(ConfigError, match=r"task: must be one of .*, got 'chess'"):
        task_class("chess")


def test_a_row_without_its_yaml(tmp_path, monkeypatch):
    monkeypatch.setattr(compose, "configuration_root", lambda: tmp_path / "search_spaces")
    with pytest.raises(ConfigError) as caught:
        compose_study("chess", "transformer", given={})
    assert [fault.partition("search_spaces/")[2] for fault in caught.value.faults] == [
        "task/chess.yaml: no such file; every task has one",
        "model/transformer.yaml: no such file; every model has one",
    ]


def test_a_loss_of_an_accuracy_is_smaller_the_better_and_zero_has_no_sign():
    assert [signed_loss(value, "maximize") for value in (0.75, 0.25)] == [-0.75, -0.25]
    assert str(signed_loss(0.0, "maximize")) == "0.0"
    assert signed_loss(0.75, "minimize") == 0.75
