"""The command ``space``: what a study would search, as a file to start from."""

from collections.abc import Sequence
from typing import cast

from dmu_search.config.compose import as_yaml_value, yaml_text
from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.grammar import Alternatives, Setting, parse_overrides
from dmu_search.config.keys import Value
from dmu_search.config.own_files import compose_with, files_for
from dmu_search.config.settings import PLACES
from dmu_search.errors import ConfigError
from dmu_search.exit_codes import DONE
from dmu_search.study.settings import studies_of

_OF_TRIALS = ("network", "training", "data")


def space(words: Sequence[str], *, dry_run: bool) -> int:
    """Run the command; returns its exit code. It only prints, so a dry run is the same.

    Raises:
        ConfigError: bad input, or more than one study.
    """
    given = parse_overrides("space", words)
    studies = studies_of(given)
    own = {key: value for key, value in given.items() if not isinstance(value, Alternatives)}
    if len(studies) != 1 or len(own) != len(given):
        raise ConfigError(f"space: shows one study, got {len(studies)}; leave out the comma lists")
    (study,) = studies
    files = files_for(study.task, study.model, given=own)
    composed = compose_with(study.task, study.model, files=files, given=own)
    named = {*own, *(name for file in files for name in file.settings)}
    print("# Change what you like, delete the rest, and search: tune config=FILE")
    print(f"task: {study.task}\nmodel: {study.model}\ndepth: {study.depth}")
    group = None
    for name in sorted(composed.settings, key=_order):
        if _is_shown(name, own=name in named):
            if name.partition(".")[0] != group:
                group = name.partition(".")[0]
                print(f"\n{group}:")
            print(_line(name, composed.settings[name], origin=composed.origins[name]))
    return DONE


def _order(name: str) -> tuple[int, str]:
    group = name.partition(".")[0]
    return (_OF_TRIALS.index(group) if group in _OF_TRIALS else len(_OF_TRIALS), name)


def _is_shown(name: str, *, own: bool) -> bool:
    """What trials are, and what the user gave; not the machine's, nor the defaults of a search."""
    of_trials = name.startswith(tuple(f"{group}." for group in _OF_TRIALS)) and name not in PLACES
    return of_trials or (own and "." in name)


def _line(name: str, setting: Setting, *, origin: str) -> str:
    searched = isinstance(setting, Interval | Choice)
    value = str(setting) if searched else _yaml(as_yaml_value(cast(Value, setting)))
    entry = f"{name.partition('.')[2]}: {value}"
    return f"  {entry:<48} # {origin}"


def _yaml(value: object) -> str:
    return str(value) if isinstance(value, list) else yaml_text({"_": value}).strip()[3:]
