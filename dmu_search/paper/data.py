"""Which data the paper's results are on."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import cast

from dmu_search.config.compose import compose_study
from dmu_search.config.keys import Value
from dmu_search.config.settings import build
from dmu_search.data.settings import DataSettings
from dmu_search.names import MODELS
from dmu_search.paper.published import published


def is_published_data(task: str, settings: DataSettings, *, name: str) -> bool:
    """Whether data is what the paper's results of ``task`` are on.

    That is the corpus of the published record, cut as by default; of a generated task, the
    sequences of its default rules.

    Args:
        task: what is learned.
        settings: which data was asked for.
        name: of the data that this gave.
    """
    default = build(DataSettings, "data", values=default_data(task))
    # The same corpus may be asked for by another name, and lie anywhere.
    asked = replace(settings, corpus=default.corpus, root=None, mirror=None)
    return asked == default and name == (published(task).data or task)


@cache
def default_data(task: str) -> Mapping[str, Value]:
    """Which data ``task`` is on where nothing else is asked for, by dotted key."""
    # Every model learns the same data.
    composed = compose_study(task, next(iter(MODELS)), given={}).settings
    return {
        name: cast(Value, value) for name, value in composed.items() if name.startswith("data.")
    }
