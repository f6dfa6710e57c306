import pickle
from dataclasses import replace

import pytest
import torch

from dmu_search.data.generated import GeneratedData
from dmu_search.data.loading import load_data, make_task
from dmu_search.data.settings import DataSettings
from dmu_search.engine.tasks import task_class
from dmu_search.engine.tasks.generated import Rules
from dmu_search.errors import ConfigError
from tests.tables import GENERATED

RELEASED = Rules(length=100, batches_per_epoch=200)
every_task = pytest.mark.parametrize("name", GENERATED)


@every_task
def test_the_hash_is_that_of_the_rules_and_their_sequences(name, monkeypatch):
    data = GeneratedData(name, RELEASED)
    assert data.sha256 == GeneratedData(name, RELEASED).sha256
    others = {
        replace(RELEASED, length=50),
        replace(RELEASED, batches_per_epoch=3),
        replace(RELEASED, noise="fixed"),
    }
    hashes = {GeneratedData(name, rules).sha256 for rules in others}
    assert len({data.sha256, *hashes}) == 4

    # A change of the rules themselves shows too.
    sequences = task_class(name).sequences
    monkeypatch.setattr(
        task_class(name), "sequences", lambda task, draws: sequences(task, 1 - draws)
    )
    assert GeneratedData(name, RELEASED).sha256 != data.sha256


# What docs/results/runs.csv names as the data of the runs at the paper's length.
RECORDED = {
    "adding": "5b5ee14a358f88c0180995ce9f16674b4d7956269ad48bf60553331ba33495fa",
    "tempord": "6e38fb4893d9060b0d1add45be41c8e6b3494d8a0f6ffe54bac242c0a50b5306",
    "noiseseq": "fba1cdbbf657fc7e62e2d0a652a548f94c8f684659a7152c2d4f22c2f7fb5049",
}


@every_task
def test_the_papers_sequences_are_those_of_the_recorded_runs(name):
    assert GeneratedData(name, RELEASED).sha256 == RECORDED[name]


@every_task
def test_data_travels_to_workers_without_its_sequences(name):
    data = GeneratedData(name, RELEASED)
    copied = pickle.loads(pickle.dumps(data))
    assert copied == data
    assert len(pickle.dumps(data)) < 1_000
    first, second = (make_task(name, each).fixed_set("test") for each in (data, copied))
    assert torch.equal(first.inputs, second.inputs)


def test_settings_become_rules():
    settings = DataSettings(length=50, batches_per_epoch=3, noise="fixed")
    data = load_data("noiseseq", settings)
    assert data.rules == Rules(length=50, batches_per_epoch=3, noise="fixed")
    assert data.steps_per_epoch(32) == 3 * 32 * 55
    with pytest.raises(ConfigError, match=r"data\.length: must be >= 12, got 3"):
        load_data("adding", DataSettings(length=3, batches_per_epoch=1))


def test_description():
    assert GeneratedData("adding", RELEASED).describe() == (
        "adding: made by rules of length 100, 200 fresh batches per epoch, "
        "fixed sets of 1,000 / 1,000 / 10,000 sequences"
    )
    assert (
        "length 100, fixed noise, 200"
        in GeneratedData("noiseseq", replace(RELEASED, noise="fixed")).describe()
    )
