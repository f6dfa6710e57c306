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
COMPOSED = {
    (task, model): compose_study(task, model, given={}).settings
    for task in TASKS
    for model in MODELS
}


@pytest.mark.parametrize(("task", "model"), COMPOSED)
def test_the_yaml_gives_every_value_of_a_training(task, model):
    needed = {
        name
        for name, key in KEYS.items()
        if name.partition(".")[0] in GROUPS and key.exists_for(task, model)
    }
    assert needed <= COMPOSED[task, model].keys()


def test_no_default_of_the_code_contradicts_the_yaml():
    for group, kind in GROUPS.items():
        for field in fields(kind):
            name = f"{group}.{field.name}"
            given = {
                settings[name]
                for settings in COMPOSED.values()
                if not isinstance(settings.get(name), Choice | Interval | None)
            }
            if given and field.default not in (MISSING, None):
                assert field.default in given, name


def test_the_code_has_no_default_where_no_one_value_would_do():
    for kind in (TrainingSettings, NetworkSettings):
        for field in fields(kind):
            if field.name in ("learning_rate", "batch_size", "max_epochs", "model", "widths"):
                assert field.default is MISSING, field.name
    assert {field.default for field in fields(DataSettings)} == {None}
