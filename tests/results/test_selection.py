import math

import pytest

from dmu_search.results.selection import first_below, sample_of, variants
from tests.results.runs import DIVERGED, paper_run, recorded

PAPER = paper_run()


def test_runs_of_a_setting_are_taken_whatever_trained_them():
    runs = [
        recorded(PAPER, (3.5, 3.6), run_id="reproduce"),
        recorded(PAPER, (3.7,), run_id="train", first_seed=2),
        recorded(paper_run(source="released"), (9.0,), run_id="other"),
    ]
    sample = sample_of(runs, PAPER.setting)
    assert sample.objective("test") == (3.5, 3.6, 3.7)
    assert sample.objective("train") == (2.5, 2.6, 2.7)
    assert (sample.runs, sample.max_epochs) == (3, 500)


def test_the_largest_budget_wins():
    short = recorded(PAPER, (1.0,) * 5, run_id="short", epochs=100)
    long = recorded(PAPER, (2.0,), run_id="long", epochs=500)
    assert sample_of([short, long], PAPER.setting).objective("test") == (2.0,)


def test_a_seed_counts_once():
    runs = [recorded(PAPER, (1.0, 2.0), run_id="a"), recorded(PAPER, (3.0, 4.0, 5.0), run_id="b")]
    sample = sample_of(runs, PAPER.setting)
    assert sample.objective("test") == (1.0, 2.0, 5.0)
    assert [run.run_id for run in sample.trainings] == ["a", "a", "b"]


def test_seeds_of_the_search_are_left_out():
    runs = [recorded(PAPER, (1.0, 2.0, 3.0))]
    sample = sample_of(runs, PAPER.setting, without_seeds=range(2))
    assert sample.objective("test") == (3.0,)
    assert sample_of(runs, PAPER.setting, without_seeds=range(3)) is None


@pytest.mark.parametrize("status", [None, "KILLED"])
def test_a_training_that_was_cut_off_is_left_out(status):
    assert sample_of([recorded(PAPER, (1.0,), status=status)], PAPER.setting) is None


def test_other_data_of_the_same_name_are_not_mixed():
    runs = [
        recorded(PAPER, (1.0,), run_id="a", sha256="1" * 64),
        recorded(PAPER, (2.0, 3.0), run_id="b", sha256="2" * 64, first_seed=5),
    ]
    assert sample_of(runs, PAPER.setting).objective("test") == (2.0, 3.0)


def test_a_diverged_run_counts_but_is_in_no_mean():
    curves = [(5.0, 4.0), DIVERGED, (5.0, 4.5)]
    sample = sample_of([recorded(PAPER, (1.0, 2.0, 3.0), curves=curves)], PAPER.setting)
    assert (sample.runs, sample.diverged) == (3, 1)
    assert sample.objective("test") == (1.0, 3.0)


def test_a_training_whose_replicas_all_diverged_is_kept():
    run = recorded(PAPER, status="FAILED", curves=[DIVERGED, DIVERGED])
    sample = sample_of([run], PAPER.setting)
    assert (sample.runs, sample.diverged, sample.objective("test")) == (2, 2, ())


def test_variants_are_told_by_what_they_change():
    released = paper_run(source="released")
    runs = [
        recorded(PAPER, (1.0,), run_id="paper"),
        recorded(paper_run(**{"network.z_bias": 0.0}), (2.0,), run_id="z"),
        recorded(paper_run(source="released", **{"training.gamma": 0.9}), (3.0,), run_id="g"),
        recorded(paper_run(**{"data.limit": 10}), (4.0,), run_id="limited"),
        recorded(paper_run(**{"data.corpus": "demo"}), (5.0,), run_id="demo"),
        recorded(paper_run(depth=2), (6.0,), run_id="deeper"),
    ]
    found = variants(runs, [PAPER.setting, released.setting])
    assert [(each.nearest, dict(each.changed)) for each in found] == [
        (0, {"network.z_bias": 0.0}),
        (1, {"training.gamma": 0.9}),
    ]
    assert found[0].sample.objective("test") == (2.0,)


def test_first_epoch_below():
    curve = (0.5, math.nan, 0.01, 0.009, 0.02, 0.001)
    assert first_below(curve, 1e-2) == 4
    assert first_below(curve, 1e-3) == math.inf
    assert first_below((), 1.0) == math.inf
