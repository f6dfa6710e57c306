"""The paper's values as screens show them, where they can be compared at all."""

from collections.abc import Mapping

from dmu_search.config.settings import RunSettings
from dmu_search.data import Data
from dmu_search.paper.data import is_published_data
from dmu_search.paper.published import Aggregate, published
from dmu_search.study.settings import StudySettings


def published_result(
    settings: StudySettings | RunSettings, data: Data
) -> Mapping[str, Aggregate] | None:
    """The paper's row of task, model and depth; None where it has none, or for other data."""
    if not is_published_data(settings.task, settings.data, name=data.name):
        return None
    return published(settings.task).results.get(settings.model, {}).get(settings.depth)


def published_in_words(settings: StudySettings | RunSettings, data: Data) -> str | None:
    """The paper's test result in a few words."""
    result = published_result(settings, data)
    if result is None:
        return None
    epochs = published(settings.task).epochs
    test = result["test"]
    return f"paper after {epochs} epochs: test {test.mean:.3f} ± {test.std:.3f}"
