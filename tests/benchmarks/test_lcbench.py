import json
import os
from pathlib import Path

import numpy as np
import pytest
from simulation.lcbench import BEST_KNOWN, DEVELOPMENT_TASKS, LCBench, Surrogate

from dmu_search.errors import ConfigError

FOLDER = Path(os.environ.get("DMU_SEARCH_DATA_MIRROR", "")) / "lcbench"


@pytest.fixture(scope="module")
def surrogate():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the extra `bench`")
    if not (FOLDER / "model.onnx").is_file():
        pytest.skip("DMU_SEARCH_DATA_MIRROR names no folder with lcbench/model.onnx")
    return Surrogate(FOLDER)


def middle(surrogate):
    return {
        name: int((each.low + each.high) / 2) if each.integer else (each.low + each.high) / 2
        for name, each in surrogate.space.items()
    }


def test_a_training_is_the_best_so_far_of_the_predicted_curve(surrogate) -> None:
    problem, values = LCBench(surrogate, "7593"), middle(surrogate)
    curves, seconds = surrogate.predict("7593", [values, values])
    training = problem.train(values)
    assert curves.shape == (2, 52)
    assert training.objectives == pytest.approx(np.minimum.accumulate(curves[0]))
    assert training.seconds_per_epoch == pytest.approx(seconds[0] / 52)
    assert problem.begin().train(dict(values)) is training


def test_settings_and_tasks_differ(surrogate) -> None:
    values = middle(surrogate)
    other = {**values, "learning_rate": 1e-4}
    curves, _ = surrogate.predict("7593", [values, other])
    assert not np.allclose(curves[0], curves[1])
    assert not np.allclose(curves[0], surrogate.predict("189906", [values])[0][0])


def test_development_tasks_exist_and_have_a_best_known_loss(surrogate) -> None:
    assert len(set(DEVELOPMENT_TASKS)) == 20
    assert set(DEVELOPMENT_TASKS) <= set(surrogate.tasks)
    assert len(surrogate.tasks) == 34
    assert set(json.loads(BEST_KNOWN.read_text())) == set(surrogate.tasks)
    for task in DEVELOPMENT_TASKS[:3]:
        problem = LCBench(surrogate, task)
        assert problem.best_known() < problem.train(middle(surrogate)).objectives[-1]


@pytest.mark.parametrize("task", ["126026", "167190", "168330", "189906"])
def test_priors_lie_in_the_space_and_a_good_one_is_better_than_a_bad_one(surrogate, task) -> None:
    problem = LCBench(surrogate, task)
    priors = {quality: problem.prior(quality) for quality in ("good", "medium", "bad")}
    for prior in priors.values():
        assert all(prior[name] in each for name, each in problem.space.items())
    good, bad = (problem.train(priors[quality]).objectives[-1] for quality in ("good", "bad"))
    assert good < bad


def test_faults_name_what_there_is(surrogate, tmp_path) -> None:
    with pytest.raises(ConfigError, match="--tasks 1: LCBench has no such task; it has 3945"):
        LCBench(surrogate, "1")
    with pytest.raises(ConfigError, match=r"--prior bad: task 7593 has no 7593-bad.yaml"):
        LCBench(surrogate, "7593").prior("bad")
    with pytest.raises(ConfigError, match=r"has no model.onnx; give LCBench's folder"):
        Surrogate(tmp_path)
