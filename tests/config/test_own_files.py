"""A user's own space: a file or a folder over the shipped YAML, below the command line."""

from dataclasses import replace

import pytest

from dmu_search.cli.main import main
from dmu_search.config.distributions import Interval
from dmu_search.errors import ConfigError
from dmu_search.names import MODELS, TASKS
from tests.studies import plan_studies


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a file in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="my_space.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
        return name

    return write


SPACE = """\
task: adding
model: gru
depth: 2

training:
  learning_rate: tag(log,interval(1e-3,1e-2)) # narrower
  batch_size: 16
search.trials: 7
"""


def test_a_file_lies_over_what_is_shipped_and_below_the_command_line(own):
    (study,) = plan_studies([f"config={own(SPACE)}", "training.batch_size=8", "search.seed=3"])
    assert study.title == "adding-gru-d2"
    assert study.space["training.learning_rate"] == Interval(1e-3, 1e-2, log=True)
    assert study.fixed["training.batch_size"] == 8
    assert (study.search.trials, study.search.seed) == (7, 3)
    (shipped,) = plan_studies(["task=adding", "model=gru", "depth=2"])
    assert study.fixed["training.max_epochs"] == shipped.fixed["training.max_epochs"]


def test_the_command_line_may_choose_other_tasks(own):
    studies = plan_studies([f"config={own(SPACE)}", "task=tempord,adding", "depth=1"])
    assert [study.title for study in studies] == ["tempord-gru-d1", "adding-gru-d1"]


def test_a_folder_lies_over_what_is_shipped_and_below_a_file(own):
    own("training: {batch_size: 5, gamma: 0.5}", "mine/task/adding.yaml")
    own("search: {trials: 9}", "mine/config.yaml")
    file = own("training: {gamma: 0.25}")
    (study,) = plan_studies(["task=adding", "config_dir=mine", f"config={file}"])
    assert (study.fixed["training.batch_size"], study.fixed["training.gamma"]) == (5, 0.25)
    assert study.search.trials == 9


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("training:\n\n  batch_sise: 3\n", ":3: training.batch_sise: there is no such key "),
        ("training: {batch_size: 0}", ":1: training.batch_size: must be a whole number >= 1"),
        (
            "# mine\ntraining:\n  learning_rate: tag(log,interval(0,1))",
            ":3: training.learning_rate: the lower bound of a log scale must be > 0",
        ),
        ("a: b: c", ":1: not readable as YAML: mapping values are not allowed here"),
        ("task: adding\nnetwork:\n  z_bias: 1\nmodel: gru", ":3: network.z_bias: only dmu has it"),
        (
            "task: adding\nnetwork: {widths: [3]}",
            ":2: network.widths: needs one width per layer",
        ),
        ("resume: latest", ":1: resume: there is no such key"),
        ("config: {task: adding}\nprovenance: {trial: 1}", "is a setting that a study found"),
    ],
)
def test_a_fault_names_file_and_line(own, text, says):
    file = own(text)
    with pytest.raises(ConfigError) as error:
        plan_studies([f"config={file}"])
    assert f"my_space.yaml{says}" in str(error.value) or says in str(error.value)
    assert str(error.value).startswith("my_space.yaml:")


def test_all_faults_of_a_file_come_together(own):
    file = own("training:\n  batch_size: 0\n  gamma: 2\n")
    with pytest.raises(ConfigError) as error:
        plan_studies([f"config={file}"])
    assert [fault.split(":")[1] for fault in error.value.faults] == ["2", "3"]


def test_a_folder_with_nothing_for_the_study_is_no_folder_of_spaces(own, tmp_path):
    own("training: {batch_size: 5}", "mine/task/adding.yaml")
    with pytest.raises(ConfigError, match=r"mine: has none of config.yaml, task/tempord"):
        plan_studies(["task=tempord", "config_dir=mine"])
    own("task: adding", "mine/config.yaml")
    with pytest.raises(ConfigError, match=r"mine/config.yaml:1: task: is chosen on"):
        plan_studies(["task=adding", "config_dir=mine"])


def test_the_folder_is_named_as_in_hydras_programs(own, capsys):
    own("training: {batch_size: 5}", "mine/task/adding.yaml")
    for words in (["--config-dir", "mine"], ["--config-dir=mine"]):
        assert main(["space", "task=adding", *words]) == 0
        assert "batch_size: 5 " in capsys.readouterr().out
    assert main(["space", "--config-dir"]) == 2


@pytest.mark.parametrize("task", TASKS)
def test_the_space_that_is_printed_is_the_space_that_is_searched(own, task, capsys):
    for model in MODELS:
        assert main(["space", f"task={task}", f"model={model}", "search.trials=4"]) == 0
        file = own(capsys.readouterr().out)
        (printed,) = plan_studies([f"config={file}"])
        (asked,) = plan_studies([f"task={task}", f"model={model}", "search.trials=4"])
        assert printed == replace(asked, notes=printed.notes)


def test_what_is_printed_says_where_it_is_from(own, capsys):
    file = own("training: {batch_size: 5}")
    assert main(["space", "task=adding", f"config={file}", "training.gamma=0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    origins = {line.split(":")[0].strip(): line.rpartition("# ")[2] for line in lines}
    assert origins["batch_size"] == "my_space.yaml:1"
    assert origins["gamma"] == "command line"
    assert origins["learning_rate"] == "search_spaces/task/adding.yaml"
