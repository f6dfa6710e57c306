"""Distributed hyperparameter search for recurrent networks (DMU, RHN, LSTM, GRU, RNN)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dmu_search import cells as cells

# Where each public name lies; imported at its first use, for torch and Ray take seconds.
_PLACES = {"cells": "cells"}

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_PLACES[name]}")
    return module if name == _PLACES[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
