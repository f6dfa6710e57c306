import csv
import json

import pytest

from dmu_search.errors import StorageError
from dmu_search.results.searches import SEARCHES, add_searches
from dmu_search.study.files import create_studies
from dmu_search.study.journal import Journal
from tests.studies import plan_studies


def study_with(tmp_path, events, name="s"):
    words = ["task=adding", "model=gru", "search.trials=3", f"output_dir={tmp_path / 'runs'}"]
    (study,) = create_studies(plan_studies(words), name)
    journal = Journal(study.journal)
    for event in events:
        journal.append(event)
    journal.close()
    return study


def ask(trial, rate, source=None):
    values = {"training.learning_rate": rate}
    return {"event": "ask", "trial": trial, "values": values, "source": source}


def result(trial, epoch, objective, decision):
    metrics = {"val_mse": objective, "epoch_wall_time_s": 1.5} if objective else {}
    return {
        "event": "result",
        "trial": trial,
        "epoch": epoch,
        "objective": objective,
        "metrics": metrics,
        "decision": decision,
    }


ENDED = [
    ask(0, 0.05, "paper"),
    ask(1, 0.02),
    ask(2, 0.9),
    result(0, 1, 0.3, "continue"),
    result(0, 2, 0.2, "finished"),
    result(1, 1, 0.4, "stopped early"),
    result(2, 1, None, "diverged"),
    {"event": "finalists", "trials": [0], "first_seed": 1, "seeds": 2},
    {"event": "finalist", "trial": 0, "values": [0.25, 0.5]},
    {"event": "winner", "trial": 0},
]


def written(folder):
    with (folder / SEARCHES).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_trial_of_an_ended_search_is_a_line(tmp_path):
    study = study_with(tmp_path, ENDED)
    assert add_searches([study], tmp_path) == 3
    first, second, third = written(tmp_path)
    assert (first["study"], first["task"], first["model"], first["depth"]) == (
        "s",
        "adding",
        "gru",
        "2",
    )
    assert (first["source"], first["status"], first["epochs"]) == ("paper", "finished", "2")
    assert (first["objective"], first["seconds"]) == ("0.2", "3.0")
    assert (first["fresh"], first["winner"]) == ("0.25 0.5", "yes")
    settings = json.loads(first["settings"])
    assert settings["training.learning_rate"] == 0.05
    assert settings["training.seed"] == 0
    assert "data.root" not in settings
    assert (second["status"], second["fresh"], second["winner"]) == ("stopped early", "", "")
    assert (third["status"], third["objective"]) == ("diverged", "")


def test_another_search_only_adds_lines_and_the_same_one_none(tmp_path):
    one, other = (study_with(tmp_path, ENDED, name) for name in ("b", "a"))
    assert add_searches([one], tmp_path) == 3
    before = (tmp_path / SEARCHES).read_text(encoding="utf-8").splitlines()
    assert add_searches([one, other], tmp_path) == 6
    assert [line["study"] for line in written(tmp_path)] == ["a"] * 3 + ["b"] * 3
    after = (tmp_path / SEARCHES).read_text(encoding="utf-8").splitlines()
    assert set(before) <= set(after)
    assert add_searches([one], tmp_path) == 6


@pytest.mark.parametrize("events", [ENDED[:6], ENDED[:-1]])
def test_a_search_that_goes_on_is_left_out(tmp_path, events):
    assert add_searches([study_with(tmp_path, events)], tmp_path) == 0
    assert not (tmp_path / SEARCHES).exists()


def test_damaged_journals_and_files_are_named(tmp_path):
    whole, damaged = (study_with(tmp_path, ENDED, name) for name in ("whole", "damaged"))
    damaged.journal.write_text("{}\n")
    faults = []
    assert add_searches([damaged, whole], tmp_path, on_damage=faults.append) == 3
    assert len(faults) == 1
    (tmp_path / SEARCHES).write_text("study\nx\n")
    with pytest.raises(StorageError, match=r"searches\.csv: cannot be read"):
        add_searches([whole], tmp_path)
