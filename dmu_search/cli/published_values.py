"""The paper's values as screens show them, where they can be compared at all."""

from collections.abc import Mapping

from dmu_search.config.published import Aggregate, published
from dmu_search.config.settings import RunSettings
from dmu_search.config.study import StudySettings
from dmu_search.data.corpus import Corpus


def published_result(
    settings: StudySettings | RunSettings, data: Corpus
) -> Mapping[str, Aggregate] | None:
    """The paper's row of task, model and depth; None where it has none, or for other data."""
    if data.name != "nottingham" or settings.data.limit is not None:
        return None
    return published(settings.task).results.get(settings.model, {}).get(settings.depth)


def published_in_words(settings: StudySettings | RunSettings, data: Corpus) -> str | None:
    """The paper's test result in a few words."""
    result = published_result(settings, data)
    if result is None:
        return None
    return f"paper after 500 epochs: test {result['test'].mean:.3f} ± {result['test'].std:.3f}"
