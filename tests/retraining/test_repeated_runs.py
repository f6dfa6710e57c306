import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dmu_search.errors import ConfigError
from dmu_search.results.selection import sample_of
from dmu_search.retraining.repeated_runs import (
    DIFFERS,
    EQUAL,
    UNTRAINED,
    WITHIN,
    check_data,
    check_given,
    repeated_settings,
    repetitions,
)
from tests.results.runs import DIVERGED, paper_run, recorded

PAPER = paper_run()
ORIGIN = {"commit": "1", "engine": "native 2", "processor": "P", "torch": "T", "threads": "1"}
TESTS = (3.50, 3.55, 3.60, 3.52, 3.58)
CURVE = (5.0, 4.0)


def before(tests=TESTS, origin=ORIGIN, epochs=2, **given):
    return replace(recorded(PAPER, tests, epochs=epochs, **given), computed_by=origin)


def again(test, *, curve=CURVE, seed=0, origin=ORIGIN, epochs=2):
    run = recorded(PAPER, (test,), run_id="z", first_seed=seed, curves=[curve], epochs=epochs)
    return replace(run, computed_by=origin)


def compared(run, *new, runs=1, max_epochs=None):
    sample = sample_of([run], PAPER.setting)
    settings = repeated_settings(("paper",), sample, runs=runs, max_epochs=max_epochs, places={})
    return repetitions(sample, settings, new=new)


def test_the_same_numbers_are_equal_whatever_computed_them():
    for origin, differences in ((ORIGIN, ()), ({**ORIGIN, "engine": "native 3"}, ("engine",))):
        (found,) = compared(before(), again(3.50, origin=origin))
        assert (found.outcome, found.parts_at, found.spread) == (EQUAL, None, None)
        assert tuple(name for name, _, _ in found.differences) == differences
        assert found.agrees


def test_the_order_of_a_sum_is_no_difference_but_the_ninth_digit_is():
    (found,) = compared(before(), again(3.50 * (1 + 1e-15)))
    assert found.outcome == EQUAL
    (found,) = compared(before(), again(3.50 * (1 + 1e-9)))
    assert (found.outcome, found.unequal) == (
        DIFFERS,
        ("test_nll_nats", "train_nll_nats", "val_nll_nats"),
    )


def test_other_numbers_of_the_same_engine_and_machine_differ():
    (found,) = compared(before(), again(3.51, curve=(5.0, 4.01)))
    assert (found.outcome, found.parts_at, found.differences) == (DIFFERS, 2, ())
    assert found.spread.holds
    assert not found.agrees


@pytest.mark.parametrize(
    ("origin", "test", "outcome"),
    [
        ({}, 3.66, WITHIN),
        ({}, 4.0, DIFFERS),
        ({**ORIGIN, "processor": "Q"}, 3.45, WITHIN),
        ({**ORIGIN, "threads": "2"}, 3.0, DIFFERS),
    ],
)
def test_numbers_of_another_engine_or_machine_are_held_against_the_other_runs(
    origin, test, outcome
):
    (found,) = compared(before(origin=origin), again(test, curve=(5.1, 4.0)))
    assert (found.outcome, found.parts_at) == (outcome, 1)
    assert found.spread.others == 4
    assert found.spread.interval.low < 3.52 < 3.60 < found.spread.interval.high
    assert (found.measure, found.recorded, found.new) == ("test_nll_nats", 3.50, test)


def test_an_odd_run_that_comes_out_odd_again_is_no_difference():
    run = before((9.0, *TESTS), origin={})
    assert compared(run, again(9.1, curve=(6.0, 6.0)))[0].outcome == WITHIN
    assert compared(run, again(7.0, curve=(6.0, 6.0)))[0].outcome == DIFFERS


def test_a_cell_of_one_run_has_a_tenth_of_it():
    run = before((3.5,), origin={})
    for test, outcome in ((3.8, WITHIN), (3.9, DIFFERS)):
        (found,) = compared(run, again(test, curve=(1.0, 1.0)))
        assert (found.outcome, found.spread.interval) == (outcome, None)


def test_runs_that_diverge():
    curves = [CURVE, CURVE, CURVE, DIVERGED]
    some = before((3.5, 3.6, 3.7, 9.0), origin={}, curves=curves)
    (found,) = compared(some, again(math.nan, curve=DIVERGED))
    assert (found.outcome, found.spread.others) == (WITHIN, 2)
    (found,) = compared(before(origin={}), again(math.nan, curve=DIVERGED))
    assert found.outcome == DIFFERS
    # One that did not break down this time is like those that did not.
    four = compared(some, again(3.5, seed=3), runs=4)
    assert [each.outcome for each in four] == [UNTRAINED, UNTRAINED, UNTRAINED, WITHIN]


def test_the_first_epochs_are_compared_by_their_validation_objectives():
    (found,) = compared(before(), again(0.0, curve=(5.0,), epochs=1), max_epochs=1)
    assert (found.outcome, found.epochs, found.results) == (EQUAL, 1, ())
    assert (found.measure, found.recorded) == ("val_nll_nats", 5.0)


def test_how_many_were_trained_at_once_matters_but_to_the_native_loop_on_one_thread():
    one = {**ORIGIN, "engine": "torch"}
    (found,) = compared(before(origin=one), again(3.6, curve=(1.0, 1.0), origin=one))
    assert found.differences == (("fused width", "5", "1"),)


def test_what_is_trained_again_is_as_it_was_recorded():
    runs = [before(TESTS[:2]), replace(before(TESTS[2:], first_seed=4), run_id="b")]
    sample = sample_of(runs, PAPER.setting)
    settings = repeated_settings(
        ("paper",), sample, runs=3, max_epochs=None, places={"data.mirror": "/m"}
    )
    own = [one.run for _, one in settings]
    assert [(run.training.seed, run.training.replicas) for run in own] == [(0, 2), (4, 1)]
    assert {run.training.max_epochs for run in own} == {2}
    assert {str(run.data.mirror) for run in own} == {"/m"}
    for given, message in (({"runs": 6}, "runs: must be at most 5"), ({"max_epochs": 3}, "most 2")):
        words = {"runs": 1, "max_epochs": None, **given}
        with pytest.raises(ConfigError, match=message):
            repeated_settings(("paper",), sample, **words, places={})
    other = {("polymusic", own[0].data): SimpleNamespace(sha256="other", name="n")}
    with pytest.raises(ConfigError, match="data: the recorded runs were trained on nottingham 00"):
        check_data(sample, settings, data=other)


def test_what_does_not_go_with_a_cell():
    check_given(["cell", "runs", "records", "training.max_epochs", "resources.cpus", "output_dir"])
    with pytest.raises(ConfigError, match="model: does not go with cell"):
        check_given(["cell", "model"])


def test_a_run_that_is_done_goes_on_only_as_long_as_those_it_is_fused_with():
    curves = [(5.0, 4.0, 4.0), (5.0, 4.5, 4.4)]
    run = before(TESTS[:2], curves=curves, epochs=3)
    (found,) = compared(run, again(3.50, curve=(5.0, 4.0), epochs=3))
    assert (found.outcome, found.epochs) == (EQUAL, 2)
