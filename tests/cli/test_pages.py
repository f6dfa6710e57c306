"""What the commands say before they train, for every task and model."""

import io
import re

import pytest
from rich.console import Console

from dmu_search.cli.screen import SearchScreen, open_console, ranked
from dmu_search.cli.study_pages import engine_in_words
from dmu_search.cli.train import train
from dmu_search.cli.tune import tune
from dmu_search.engine.kernels.backend import BackendChoice
from dmu_search.names import MODELS, TASKS
from dmu_search.on_ray.progress import TrialView
from dmu_search.report.words import score
from tests.tables import MUSIC, ON_FILES

QUICK = ("adding", *MUSIC)


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def data_words(small_files, demo_store):
    """What names the small data of a task."""

    def words(task):
        if task in MUSIC:
            return ["data.corpus=demo", f"data.root={demo_store.root}"]
        return [f"data.root={small_files}"] if task in ON_FILES else []

    return words


@pytest.mark.parametrize(
    "task",
    [t if t in QUICK else pytest.param(t, marks=pytest.mark.slow) for t in TASKS],
)
def test_a_plan_for_every_model(task, capsys, data_words):
    own = data_words(task)
    assert tune([f"task={task}", f"model={','.join(MODELS)}", *own], dry_run=True) == 0
    shown = capsys.readouterr().out
    for model in MODELS:
        assert f"{task}-{model}-d" in shown
    assert shown.count("training steps of the network at most") == len(MODELS)


def test_the_cost_counts_the_largest_batches(capsys):
    costs = {}
    for sizes in ("choice(8,32,16)", "range(8,32,8)", "32"):
        words = ["task=adding", "search.trials=1", f"training.batch_size={sizes}"]
        tune([*words, "training.max_epochs=1", "data.batches_per_epoch=5"], dry_run=True)
        (costs[sizes],) = re.findall(r"; (\S+) training steps", capsys.readouterr().out)
    # 5 batches of 32 sequences of at most 110 steps.
    assert set(costs.values()) == {"1.8e+04"}


def test_the_plan_says_what_trials_are_judged_by(capsys):
    tune(["task=adding"], dry_run=True)
    assert "objective  best val_mse\n" in capsys.readouterr().out
    tune(["task=adding", "training.replicas=3", "search.objective=worst_replica"], dry_run=True)
    assert "objective  best val_mse, worst of 3 replicas\n" in capsys.readouterr().out


@pytest.mark.parametrize(("task", "runs"), [("adding", 51), ("polymusic", 5), ("natlang", 5)])
def test_train_has_as_many_replicas_as_the_paper_has_runs(task, runs, capsys, tmp_path, data_words):
    file = tmp_path / "mine.yaml"
    file.write_text(f"task: {task}\nmodel: dmu\ndepth: 2\ntraining: {{learning_rate: 0.01}}\n")
    assert train([f"config={file}", *data_words(task)], dry_run=True) == 0
    assert f"replicas   {runs}, seeds 0 to {runs - 1}" in capsys.readouterr().out


def test_a_problem_of_many_trials_is_named_once(capsys):
    screen = SearchScreen(
        open_console(),
        trials=2,
        max_epochs=3,
        scheduler="promotion",
        metric="loss",
        direction="minimize",
        published=None,
    )
    for number in (0, 1):
        screen.update(TrialView(number, "running", 1, 0.5, {}, None, problem="no CUDA graphs: why"))
    shown = capsys.readouterr().out
    assert shown.count("warning: trial 0: no CUDA graphs: why\n") == 1
    assert "trial 1: no CUDA" not in shown


@pytest.mark.parametrize(("name", "words"), [("graphs", "CUDA graphs"), ("reference", "PyTorch")])
def test_the_header_says_what_trains(name, words):
    assert engine_in_words(BackendChoice(name, "because")).startswith(words)


@pytest.mark.parametrize(
    ("direction", "order", "best"),
    [
        ("minimize", [2, 0, 1, 3], "0.0000 (trial 2)"),
        ("maximize", [1, 0, 2, 3], "0.9000 (trial 1)"),
    ],
)
def test_the_best_trials_stand_first(direction, order, best):
    trials = [
        TrialView(number, "finished", epoch=1, objective=objective, values={}, warm_start=None)
        for number, objective in enumerate([0.2, 0.9, 0.0])
    ]
    trials.append(TrialView(3, "failed", epoch=0, objective=None, values={}, warm_start=None))
    assert [view.number for view in ranked(trials, direction)] == order
    console = Console(width=160, file=io.StringIO(), force_terminal=True, color_system=None)
    screen = SearchScreen(
        console,
        trials=4,
        max_epochs=1,
        scheduler="promotion",
        metric="val_accuracy",
        direction=direction,
        published=None,
    )
    screen.resume(trials)
    with screen:
        pass
    assert f"best val_accuracy {best}" in console.file.getvalue()


def test_the_weights_shown_are_those_of_the_datas_own_vocabularies(capsys, small_files):
    tune(["task=spa2eng", f"data.root={small_files}"], dry_run=True)
    shown = capsys.readouterr().out
    # Embeddings, two blocks of 850 x 400, their biases, and the readout.
    count = (19 + 17) * 650 + 2 * (850 + 1) * 400 + (200 + 1) * 17
    assert f"widths [200], {count:,} weights" in shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.52841, "3.5284"),
        (0.0, "0.0000"),
        (4.2e-7, "4.20e-07"),
        (float("nan"), "nan"),
        (None, ""),
    ],
)
def test_scores_keep_digits_that_say_something(value, text):
    assert score(value) == text
