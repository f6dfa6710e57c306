"""Guesses that a search begins near."""

import math

import numpy as np
import pytest

from dmu_search.config.distributions import Interval
from dmu_search.errors import ConfigError
from dmu_search.study.expert import Expert
from dmu_search.study.prior import guesses_of, read_prior
from tests.study.toy import RATE, RULE, SPACE, carry_out, make

GOOD = {RATE: 0.011, RULE: "released"}
BAD = {RATE: 1e-4, RULE: "ratio"}


def test_a_file_is_kept_as_its_text(tmp_path):
    path = tmp_path / "guess.yaml"
    path.write_text(f"{RATE}: 1e-2\n{RULE}: paper\ntraining.gamma: 0.9\n")
    kept = read_prior(str(path), SPACE)
    path.unlink()
    assert read_prior(kept, SPACE) == kept
    assert guesses_of(kept, ()) == ({RATE: 0.01, RULE: "paper"},)


def test_an_exported_file_is_a_guess(tmp_path):
    path = tmp_path / "best.yaml"
    path.write_text("config:\n  task: adding\n  training:\n    learning_rate: 0.02\nother: 1\n")
    assert guesses_of(read_prior(str(path), SPACE), ()) == ({RATE: 0.02},)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{RATE}: 3.0", r"learning_rate=3.0 is outside tag\(log,interval\(0.0001,0.1\)\)"),
        (f"{RATE}: fast", "learning_rate: must be a number"),
        ("training.learnin_rate: 0.1", "training.learnin_rate is no key of a training"),
        ("training.gamma: 0.9", "says nothing of what is searched"),
    ],
)
def test_a_bad_file_is_refused_in_a_sentence(tmp_path, text, message):
    path = tmp_path / "guess.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_prior(str(path), SPACE)
    with pytest.raises(ConfigError, match="no such file"):
        read_prior(str(tmp_path / "nothing.yaml"), SPACE)


def test_published_settings_are_the_default_guesses():
    assert guesses_of("paper", (GOOD,)) == (GOOD,)
    assert guesses_of("none", (GOOD,)) == ()


def test_a_search_begins_with_the_guess_and_stays_near_a_good_one():
    space = {RATE: SPACE[RATE]}
    study = make(sampler="gp", space=space, trials=12, warm_starts=(), priors=(GOOD,))
    carry_out(study)
    rates = [math.log10(trial.values[RATE]) for trial in study.trials.values()]
    assert rates[0] == pytest.approx(math.log10(0.011))
    near = sum(abs(rate - rates[0]) < 0.75 for rate in rates)
    plain = make(sampler="gp", space=space, trials=12, warm_starts=())
    assert dict(plain.next().values)[RATE] != pytest.approx(0.011)
    assert near > 7


def test_belief_follows_the_comparisons():
    expert = Expert(np.array([[0.2, math.nan]]))
    assert list(expert.is_near(np.array([[0.2, 0.9], [0.3, 0.1], [0.9, 0.2]]))) == [1, 1, 0]
    beliefs = [expert.belief(wins, 20) for wins in (0, 5, 10, 15, 20)]
    assert beliefs == sorted(beliefs)
    assert beliefs[0] == beliefs[2] == expert.belief(0, 0) == 0.0 < beliefs[3] < beliefs[4] < 1.0
    weights = [expert.weight(trials, belief=0.5) for trials in (1, 10, 100)]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] < 0.1


def test_without_a_guess_nothing_is_believed():
    expert = Expert(np.empty((0, 2)))
    assert not expert.is_near(np.array([[0.5, 0.5]])).any()
    assert expert.belief(3, 4) == 0.0


def test_a_bad_guess_does_not_keep_the_search_from_better_settings():
    space = {RATE: Interval(1e-4, 1e-1, log=True)}
    study = make(sampler="gp", space=space, trials=25, warm_starts=(), priors=(BAD,))
    carry_out(study)
    assert abs(math.log(study.best.values[RATE] / 0.01)) < 0.2
