import re
from dataclasses import replace
from pathlib import Path

import pytest

from dmu_search.data.corpus import Corpus
from dmu_search.engine.tasks.polymusic import PianoRolls
from dmu_search.folders import OutputFolder
from dmu_search.retraining.best import keep_best
from dmu_search.retraining.exported import read_run_file
from dmu_search.retraining.provenance import provenance
from dmu_search.retraining.slots import paper_slot
from dmu_search.retraining.sources import sourced
from tests.studies import plan_studies

ROLLS = PianoRolls(train=(), valid=(), test=())
REAL = Corpus(ROLLS, "nottingham", "aaa", Path("x"))
DEMO = Corpus(ROLLS, "demo", "bbbbbbbbbb", Path("y"))
TUNES, OTHERS = (Corpus(ROLLS, "my tunes (folder)", f"{n}123456789", Path("z")) for n in (1, 2))


def keep(
    folder,
    objective,
    *,
    data=REAL,
    task="polymusic",
    study="first",
    pending=False,
    finalists=None,
    **changed,
):
    words = [f"task={task}", "training.max_epochs=10"]
    words += [f"{name}={value}" for name, value in changed.items()]
    (planned,) = plan_studies(words)
    source = provenance(
        study=study,
        data=data,
        metrics={},
        objective=objective,
        search_objective="mean_over_replicas",
        **({} if finalists is None else {"finalists": finalists}),
    )
    return keep_best(
        folder / "studies" / study,
        folder,
        run=planned.example(),
        source=source,
        pending=pending,
    )


def paper_file(folder):
    return paper_slot(OutputFolder(folder).best, "polymusic", model="dmu", depth=1)


def objective_in(path):
    return read_run_file(path).provenance["objective"]


@pytest.mark.parametrize(
    ("second", "replaced", "reason"),
    [
        (3.4, True, "replaces 3.5"),
        (3.5, False, "kept as it is: it has 3.5, at least as good"),
    ],
)
def test_only_a_better_result_replaces(tmp_path, second, replaced, reason):
    first = keep(tmp_path, 3.5)
    assert first.reason == "the first of its task, model and depth on nottingham"
    kept = keep(tmp_path, second, study="second")
    assert kept.replaced is replaced
    assert re.match(reason, kept.reason)
    assert kept.slot == paper_file(tmp_path)
    assert objective_in(kept.slot) == (second if replaced else 3.5)
    assert objective_in(kept.own) == second
    # What the user is told to train is this study's in either case.
    assert objective_in(kept.file) == second
    assert kept.file == (kept.slot if replaced else kept.own)


def test_the_objective_of_the_task_says_what_is_better(tmp_path):
    keep(tmp_path, 0.6, task="spa2eng", data=TUNES)
    assert keep(tmp_path, 0.7, task="spa2eng", data=TUNES, study="second").replaced


def test_every_data_set_has_a_file_of_its_own(tmp_path):
    cut = replace(REAL, sha256="dddddddddd")
    kept = {
        data: keep(tmp_path, objective, data=data, study=data.sha256, **words)
        for objective, (data, words) in enumerate(
            [(DEMO, {}), (TUNES, {}), (REAL, {}), (OTHERS, {}), (cut, {"data.limit": 20})]
        )
    }
    assert all(each.replaced for each in kept.values())
    folder = tmp_path / "best" / "polymusic"
    assert [each.slot.relative_to(folder).as_posix() for each in kept.values()] == [
        "demo-bbbbbbbb/dmu-d1.yaml",
        "my-tunes-folder-11234567/dmu-d1.yaml",
        "dmu-d1.yaml",
        "my-tunes-folder-21234567/dmu-d1.yaml",
        "nottingham-dddddddd/dmu-d1.yaml",
    ]
    assert not keep(tmp_path, 9.0, data=TUNES, study="worse").replaced
    assert keep(tmp_path, 0.5, data=TUNES, study="better").replaced
    assert objective_in(paper_file(tmp_path)) == 2


@pytest.mark.parametrize("name", ["..", "../..", "/", "C:\\x", "ноты", ""])
def test_a_name_of_data_never_leads_elsewhere(tmp_path, name):
    kept = keep(tmp_path, 1.0, data=replace(DEMO, name=name))
    assert kept.slot.parent.parent == tmp_path / "best" / "polymusic"
    assert re.fullmatch(r"([A-Za-z]-x-)?bbbbbbbb", kept.slot.parent.name)


@pytest.mark.parametrize("objective", [3.4, 9.0])
def test_a_file_of_an_earlier_version_makes_way_for_the_papers_data(tmp_path, objective):
    old = keep(tmp_path, 3.5, data=TUNES, study="old").slot
    text = old.read_bytes()
    old.rename(paper_file(tmp_path))
    kept = keep(tmp_path, objective)
    assert kept.replaced
    assert kept.reason == (
        "the first of its task, model and depth on nottingham; what was found on other data is "
        f"now {old}"
    )
    assert objective_in(paper_file(tmp_path)) == objective
    assert old.read_bytes() == text


@pytest.mark.parametrize(("objective", "replaced"), [(3.4, True), (3.6, False)])
def test_a_file_of_an_earlier_version_competes_for_its_own_data(tmp_path, objective, replaced):
    old = keep(tmp_path, 3.5, data=TUNES, study="old").slot
    old.rename(paper_file(tmp_path))
    kept = keep(tmp_path, objective, data=TUNES)
    assert (kept.slot, kept.replaced) == (old, replaced)
    assert objective_in(old) == (objective if replaced else 3.5)
    assert not paper_file(tmp_path).exists()


def test_a_file_of_an_earlier_version_takes_no_ones_place(tmp_path):
    old = keep(tmp_path, 3.5, data=TUNES, study="old").slot
    paper_file(tmp_path).write_bytes(old.read_bytes())
    keep(tmp_path, 3.4, data=TUNES, study="new")
    moved = old.with_name("dmu-d1-2.yaml")
    assert (objective_in(old), objective_in(moved)) == (3.4, 3.5)
    assert not paper_file(tmp_path).exists()


def test_a_resumed_study_replaces_its_own(tmp_path):
    keep(tmp_path, 3.5)
    kept = keep(tmp_path, 3.5)
    assert (kept.replaced, kept.reason) == (True, "was this study's already")


def test_what_fresh_seeds_have_yet_to_confirm_takes_no_others_place(tmp_path):
    keep(tmp_path, 3.5)
    kept = keep(tmp_path, 3.4, study="second", pending=True)
    assert not kept.replaced
    assert kept.reason == "kept as it is until this study's finalists have ended"
    assert (objective_in(kept.slot), objective_in(kept.own)) == (3.5, 3.4)
    # Its own place it may have.
    assert keep(tmp_path, 3.6, pending=True).replaced


def test_confirmed_results_compete_by_their_means(tmp_path):
    keep(tmp_path, 3.3, finalists={"state": "confirmed", "seeds": 5, "mean": 3.6})
    better = {"state": "confirmed", "seeds": 5, "mean": 3.5}
    kept = keep(tmp_path, 3.4, study="second", finalists=better)
    assert (kept.replaced, kept.reason) == (True, "replaces 3.6 over fresh seeds")
    worse = {"state": "confirmed", "seeds": 5, "mean": 3.7}
    kept = keep(tmp_path, 3.0, study="third", finalists=worse)
    assert kept.reason == "kept as it is: it has 3.5 over fresh seeds, at least as good"


@pytest.mark.parametrize(
    ("finalists", "seeds"),
    [
        (None, range(4, 7)),
        ({"state": "unconfirmed", "why": "search.finalists=0", "seeds": 0}, range(4, 7)),
        ({"state": "confirmed", "seeds": 5, "mean": 3.5}, range(4, 12)),
        # Whatever a reader made of the file.
        ("none", range(4, 7)),
        ({"seeds": "five"}, range(4, 7)),
    ],
)
def test_the_seeds_of_search_and_finalists_are_used(tmp_path, finalists, seeds):
    words = {"training.seed": 4, "training.replicas": 3}
    kept = keep(tmp_path, 3.5, finalists=finalists, **words)
    assert read_run_file(kept.own).used_seeds == seeds
    found = sourced("best", "polymusic", model="dmu", depth=1, output_dir=tmp_path)
    assert found.run.training.seed == seeds.stop


def test_a_file_of_the_users_own_is_never_replaced(tmp_path):
    best = keep(tmp_path, 3.5).slot
    for text in ("task: polymusic\nmodel: dmu\ndepth: 1\n", "not: [a, setting\n"):
        best.write_text(text)
        kept = keep(tmp_path, 1.0, study="second")
        assert not kept.replaced
        assert "was not written by a study; move it away first" in kept.reason
        assert best.read_text() == text


def test_provenance_names_data_code_and_versions():
    source = provenance(study="s", data=replace(DEMO), metrics={}, trial=3)
    assert source["data"] == {
        "name": "demo",
        "sha256": "bbbbbbbbbb",
        "sequences": {"train": 0, "valid": 0, "test": 0},
    }
    assert source["trial"] == 3
    assert source["packages"]["optuna"][0].isdigit()
    assert source["code"]["dmu_search"]
