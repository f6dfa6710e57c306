"""Defaults stand in ``search_spaces/``; those of code only say what leaves something out."""

from dataclasses import MISSING, fields

import pytest

from dmu_search.config.compose import compose_study
from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.keys import KEYS
from dmu_search.data.settings import DataSettings
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.names import MODELS, TASKS

GROUPS = {"network": NetworkSettings, "training": TrainingSettings, "data": DataSettings}


@pytest.fixture(scope="module")
def composed():
    """What is given for every task and for every model, each with the first of the others."""
    pairs = [(task, next(iter(MODELS))) for task in TASKS]
    pairs += [(next(iter(TASKS)), model) for model in MODELS]
    return {pair: compose_study(*pair, given={}).settings for pair in pairs}


def test_the_yaml_gives_every_value_of_a_training(composed):
    for (task, model), settings in composed.items():
        needed = {
            name
            for name, key in KEYS.items()
            if name.partition(".")[0] in GROUPS and key.exists_for(task, model)
        }
        assert needed <= settings.keys(), (task, model)


def test_no_default_of_the_code_contradicts_the_yaml(composed):
    for group, kind in GROUPS.items():
        for field in fields(kind):
            name = f"{group}.{field.name}"
            given = {
                settings[name]
                for settings in composed.values()
                if not isinstance(settings.get(name), Choice | Interval | None)
            }
            if given and field.default not in (MISSING, None):
                assert field.default in given, name


def test_the_code_has_no_default_where_no_one_value_would_do():
    for kind in (TrainingSettings, NetworkSettings):
        for field in fields(kind):
            if field.name in ("learning_rate", "max_epochs", "model", "widths"):
                assert field.default is MISSING, field.name
    # Records from before that key mean False.
    others = {
        field.name: field.default for field in fields(DataSettings) if field.default is not None
    }
    assert others == {"whole_chunks": False}
