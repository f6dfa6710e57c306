"""Keywords of Python are checked as words of the command line are."""

from pathlib import Path

import numpy as np
import pytest

import dmu_search as ds
from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.keywords import settings_from
from dmu_search.errors import ConfigError, StorageError


def test_a_key_is_named_by_its_last_part_or_whole():
    given = {"trials": 3, "corpus": "demo", "output_dir": Path("a"), "search.seed": np.int64(2)}
    assert settings_from("tune", given) == {
        "search.trials": 3,
        "data.corpus": "demo",
        "output_dir": "a",
        "search.seed": 2,
    }


def test_distributions_are_objects_or_texts():
    given = {
        "learning_rate": ds.log(1e-4, 1e-1),
        "gamma": "interval(0.9,1)",
        "batch_size": ds.interval(4, 32),
        "z_bias": ds.grid(0, 4, step=0.5),
        "gradient_clipping": ds.choice("off", "norm"),
        "widths": [3, 4],
    }
    assert settings_from("tune", given) == {
        "training.learning_rate": Interval(1e-4, 1e-1, log=True),
        "training.gamma": Interval(0.9, 1.0),
        "training.batch_size": Interval(4, 32, integer=True),
        "network.z_bias": Interval(0.0, 4.0, step=0.5),
        "training.gradient_clipping": Choice(("off", "norm")),
        "network.widths": (3, 4),
    }


def test_all_faults_come_together():
    with pytest.raises(ConfigError) as error:
        ds.tune("adding", modle="dmu", seed=3, batch_size=0, space={"learning_rate": ds.log(0, 1)})
    for fault, says in zip(
        error.value.faults,
        (
            "modle: tune has no such key (did you mean model?)",
            "seed: may be training.seed or search.seed; write overrides={'training.seed': ..}",
            "training.batch_size: must be a whole number >= 1, got 0",
            "training.learning_rate: the lower bound of a log scale must be > 0, got 0.0",
        ),
        strict=True,
    ):
        assert fault.startswith(says)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: ds.tune(task=3), "task: must be a name or a task such as a ds.SequenceTask, got"),
        (lambda: ds.tune("adding", model=int), "model: must be a name or a subclass of ds.cells"),
        (lambda: ds.tune("addign"), "task: must be one of .*did you mean adding"),
        (lambda: ds.open_study("nowhere"), "nowhere: is no study"),
        (lambda: ds.load("nowhere.yaml"), "nowhere.yaml: no such file"),
        (lambda: ds.runs_frame("nowhere"), "nowhere: there is no such folder"),
    ],
)
def test_bad_input_is_a_sentence(call, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, StorageError), match=says):
        call()
    assert not list(tmp_path.iterdir())


def test_every_public_name_is_there():
    assert all(getattr(ds, name) is not None for name in ds.__all__)
    assert set(dir(ds)) >= {"tune", "load", "cells"}
