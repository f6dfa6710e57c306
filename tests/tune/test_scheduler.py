"""ASHA's rungs after a restart, for either direction of the objective."""

import pytest
from ray.tune.experiment import Trial

from dmu_search.tune.scheduler import ResumableASHA


def decide(scheduler, trial_id, objective, warm_start=None):
    """What becomes of a trial with this objective after its first epoch."""
    trial = Trial("none", trial_id=trial_id, config={"warm_start": warm_start}, stub=True)
    scheduler.on_trial_add(None, trial)
    result = {"training_iteration": 1, "objective": objective}
    return scheduler.on_trial_result(None, trial, result)


@pytest.mark.parametrize(("direction", "good", "bad"), [("minimize", 1, 9), ("maximize", 9, 1)])
@pytest.mark.parametrize("restarted", [False, True])
def test_trials_worse_than_those_before_are_stopped(direction, good, bad, restarted):
    scheduler = ResumableASHA(max_epochs=9, grace_epochs=1, reduction_factor=2, direction=direction)
    if restarted:
        scheduler.replay({"a": {1: 5.0}, "b": {1: 5.0}})
    else:
        for trial_id in ("a", "b"):
            decide(scheduler, trial_id, 5.0)
    assert decide(scheduler, "weak", bad) == "STOP"
    assert decide(scheduler, "strong", good) == "CONTINUE"
    assert decide(scheduler, "warm", bad, warm_start="paper") == "CONTINUE"
