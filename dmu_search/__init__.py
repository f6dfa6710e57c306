"""Distributed hyperparameter search for recurrent networks (DMU, RHN, LSTM, GRU, RNN)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dmu_search import cells as cells
    from dmu_search.api.models import load as load
    from dmu_search.api.space import choice as choice
    from dmu_search.api.space import grid as grid
    from dmu_search.api.space import interval as interval
    from dmu_search.api.space import log as log
    from dmu_search.api.studies import Study as Study
    from dmu_search.api.studies import open_study as open_study
    from dmu_search.api.tuning import tune as tune
    from dmu_search.engine.tasks.sequences import Classification as Classification
    from dmu_search.engine.tasks.sequences import Regression as Regression
    from dmu_search.engine.tasks.sequences import SequenceTask as SequenceTask
    from dmu_search.engine.tasks.sequences import sequences as sequences
    from dmu_search.results.frames import runs_frame as runs_frame

# Where each public name lies; imported at its first use, for torch and Ray take seconds.
_PLACES = {
    "Classification": "engine.tasks.sequences",
    "Regression": "engine.tasks.sequences",
    "SequenceTask": "engine.tasks.sequences",
    "Study": "api.studies",
    "cells": "cells",
    "choice": "api.space",
    "grid": "api.space",
    "interval": "api.space",
    "load": "api.models",
    "log": "api.space",
    "open_study": "api.studies",
    "runs_frame": "results.frames",
    "sequences": "engine.tasks.sequences",
    "tune": "api.tuning",
}

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_PLACES[name]}")
    return module if name == _PLACES[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
