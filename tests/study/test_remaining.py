import pytest

from dmu_search.study.remaining import Progress, epochs_left


def left(*trials, in_all=10, scheduler="promotion"):
    return epochs_left(trials, in_all=in_all, max_epochs=100, scheduler=scheduler)


def test_without_stopping_every_trial_trains_whole():
    trials = [Progress(100, "finished", False), Progress(40, "running", False)]
    assert left(*trials, scheduler="none") == 60 + 8 * 100


def test_a_warm_start_trains_whole_whatever_the_scheduler_is():
    assert left(Progress(30, "running", True), in_all=1) == 70
    assert left(Progress(30, "open", True), in_all=1, scheduler="asha") == 70


@pytest.mark.parametrize("status", ["finished", "stopped early", "diverged", "failed"])
def test_nothing_is_left_when_all_have_ended(status):
    assert left(Progress(9, status, False), in_all=1) == 0


def test_trials_that_wait_may_go_on_after_the_last_has_begun():
    assert left(Progress(9, "paused", False), in_all=1) == 100


def test_short_trials_so_far_promise_short_ones():
    short = [Progress(3, "stopped early", False)] * 20
    long = [Progress(90, "finished", False)] * 20
    for scheduler in ("promotion", "asha", "none"):
        promised = [left(*each, in_all=40, scheduler=scheduler) for each in (short, long)]
        assert promised[0] < promised[1]
        assert promised[0] > 20 * 3
