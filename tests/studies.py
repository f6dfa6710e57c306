"""Studies from the words of a command line, as ``tune`` reads them."""

from collections.abc import Sequence

from dmu_search.config.grammar import parse_overrides
from dmu_search.study.settings import StudySettings, studies_of


def plan_studies(words: Sequence[str]) -> tuple[StudySettings, ...]:
    return studies_of(parse_overrides("tune", words))
