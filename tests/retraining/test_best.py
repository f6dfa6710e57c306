from dataclasses import replace
from pathlib import Path

import pytest

from dmu_search.data.corpus import Corpus
from dmu_search.engine.tasks import PianoRolls
from dmu_search.retraining.best import best_path, keep_best
from dmu_search.retraining.exported import read_run_file
from dmu_search.retraining.provenance import provenance
from tests.studies import plan_studies

ROLLS = PianoRolls(train=(), valid=(), test=())
REAL = Corpus(ROLLS, "nottingham", "aaa", Path("x"))
DEMO = Corpus(ROLLS, "demo", "bbb", Path("y"))


def keep(
    folder,
    objective,
    *,
    epochs=10,
    data=REAL,
    task="polymusic",
    rule="mean_over_replicas",
    replicas=1,
):
    words = [f"task={task}", f"training.max_epochs={epochs}", f"training.replicas={replicas}"]
    (study,) = plan_studies(words)
    run = study.example()
    source = provenance(
        study="s", data=data, metrics={}, objective=objective, search_objective=rule
    )
    return keep_best(folder / "studies" / "s", folder, run, source), best_path(folder, run)


@pytest.mark.parametrize(
    ("first", "second", "replaced", "reason"),
    [
        ({"objective": 3.5}, {"objective": 3.4}, True, "replaces 3.5"),
        ({"objective": 3.5}, {"objective": 3.5}, False, "at least as good"),
        ({"objective": 3.5}, {"objective": 3.6}, False, "at least as good"),
        ({"objective": 3.5}, {"objective": 3.4, "epochs": 9}, False, "had 10 epochs, more than"),
        ({"objective": 3.5}, {"objective": 3.4, "epochs": 11}, True, "replaces 3.5"),
        ({"objective": 3.5}, {"objective": 1.0, "data": DEMO}, False, "was found on other data"),
        ({"objective": 1.0, "data": DEMO}, {"objective": 3.5}, True, "found on the demo corpus"),
        (
            {"objective": 3.5, "replicas": 2},
            {"objective": 3.4, "replicas": 2, "rule": "worst_replica"},
            False,
            "was chosen by mean_over_replicas; move it away first",
        ),
        # Every rule gives the same of one replica.
        ({"objective": 3.5}, {"objective": 3.4, "rule": "worst_replica"}, True, "replaces 3.5"),
    ],
)
def test_only_a_better_result_replaces(tmp_path, first, second, replaced, reason):
    keep(tmp_path, **first)
    kept, best = keep(tmp_path, **second)
    assert kept.replaced is replaced
    assert reason in kept.reason
    expected = second if replaced else first
    assert read_run_file(best).provenance["objective"] == expected["objective"]
    assert read_run_file(kept.own).provenance["objective"] == second["objective"]


@pytest.mark.parametrize(("second", "replaced"), [(0.7, True), (0.6, False), (0.5, False)])
def test_a_better_accuracy_is_a_larger_one(tmp_path, second, replaced):
    keep(tmp_path, 0.6, task="spa2eng")
    kept, best = keep(tmp_path, second, task="spa2eng")
    assert kept.replaced is replaced
    assert ("replaces 0.6" if replaced else "has 0.6, at least as good") in kept.reason
    assert read_run_file(best).provenance["objective"] == max(0.6, second)


def test_a_file_of_the_users_own_is_never_replaced(tmp_path):
    _, best = keep(tmp_path, 3.5)
    best.write_text("task: polymusic\nmodel: dmu\ndepth: 1\n")
    kept, _ = keep(tmp_path, 1.0)
    assert not kept.replaced
    assert "was not written by a study" in kept.reason
    assert best.read_text() == "task: polymusic\nmodel: dmu\ndepth: 1\n"


def test_provenance_names_data_code_and_versions():
    source = provenance(study="s", data=replace(DEMO), metrics={}, trial=3)
    assert source["data"] == {
        "name": "demo",
        "sha256": "bbb",
        "sequences": {"train": 0, "valid": 0, "test": 0},
    }
    assert source["trial"] == 3
    assert source["packages"]["optuna"][0].isdigit()
    assert source["code"]["dmu_search"]
