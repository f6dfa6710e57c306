"""A study that begins with what an earlier one found."""

import pytest

from dmu_search.config.grammar import parse_overrides
from dmu_search.errors import ConfigError
from dmu_search.study.earlier import with_earlier
from dmu_search.study.files import create_studies, find_studies
from dmu_search.study.journal import Journal
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.settings import studies_of
from dmu_search.study.trials import Report

RATE = "training.learning_rate"


def settings(tmp_path, *words, task="adding"):
    own = [f"task={task}", "model=gru", f"output_dir={tmp_path}"]
    given = parse_overrides("tune", [*own, *words])
    (one,) = studies_of(given)
    return one


@pytest.fixture
def earlier(tmp_path):
    """Five finished trials; the later, the better."""
    (study,) = create_studies([settings(tmp_path, "search.trials=5", "search.sampler=random")])
    journal = Journal(study.journal)
    own = SearchStudy.of(study.settings, append=journal.append)
    while (assignment := own.next()) is not None:
        value = 1.0 / (1 + assignment.number)
        own.report(assignment.number, Report(1, value, {}, finished=True))
    journal.close()
    return study, own


def test_the_best_three_are_tried_first_and_kept_with_the_new_study(tmp_path, earlier):
    study, own = earlier
    new = with_earlier(settings(tmp_path, f"search.warm_start=study:{study.name}"))
    assert [point.source for point in new.warm_starts] == [
        f"{study.name} trial {number}" for number in (4, 3, 2)
    ]
    assert dict(new.warm_starts[0].values) == dict(own.trials[4].values)
    (begun,) = create_studies([new], "second")
    study.journal.unlink()
    (resumed,) = find_studies(tmp_path, "second", given={})
    assert resumed.settings.warm_starts == new.warm_starts == begun.settings.warm_starts


def test_settings_outside_the_new_space_are_passed_over(tmp_path, earlier):
    study, own = earlier
    rates = sorted(trial.values[RATE] for trial in own.trials.values())
    narrow = f"{RATE}=interval({rates[0]},{rates[2]})"
    new = with_earlier(settings(tmp_path, f"search.warm_start=study:{study.name}", narrow))
    assert [point.values[RATE] <= rates[2] for point in new.warm_starts] == [True] * 3
    nowhere = f"{RATE}=interval({rates[-1] * 2},{rates[-1] * 3})"
    with pytest.raises(ConfigError, match="none of its settings lies in the space"):
        with_earlier(settings(tmp_path, f"search.warm_start=study:{study.name}", nowhere))


def test_another_task_data_or_name_is_refused(tmp_path, earlier):
    study, _ = earlier
    word = f"search.warm_start=study:{study.name}"
    with pytest.raises(ConfigError, match="has task=adding, this search task=tempord; choose"):
        with_earlier(settings(tmp_path, word, task="tempord"))
    with pytest.raises(ConfigError, match=r"has data.length=100, this search data.length=50; "):
        with_earlier(settings(tmp_path, word, "data.length=50"))
    with pytest.raises(ConfigError, match="nothing"):
        with_earlier(settings(tmp_path, "search.warm_start=study:nothing"))
    with pytest.raises(ConfigError, match="must be paper, none or study:NAME, got 'papr'"):
        settings(tmp_path, "search.warm_start=papr")
