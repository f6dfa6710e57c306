"""Good guesses that a search begins near: the published settings, or those of a file."""

import json
from collections.abc import Mapping
from pathlib import Path

from dmu_search.config.compose import check_yaml, flatten, read_yaml
from dmu_search.config.distributions import Choice, Distribution, Interval
from dmu_search.config.keys import KEYS, Value
from dmu_search.errors import ConfigError

Guess = Mapping[str, Value]


def read_prior(prior: str, space: Mapping[str, Distribution]) -> str:
    """``search.prior`` as a study keeps it: a file's guess as its text, so the file may go.

    Args:
        prior: ``paper``, ``none``, a path, or a text that an earlier call gave.
        space: what is searched.

    Raises:
        ConfigError: the file is missing, is no YAML, or says nothing that the space holds.
    """
    if prior in ("paper", "none") or prior.startswith("{"):
        return prior
    tree = flatten(dict(read_yaml(Path(prior))))
    # An exported file has its settings under `config`.
    said = {name.removeprefix("config."): value for name, value in tree.items()}
    guess, faults = {}, []
    for name in (name for name in said if name in space):
        try:
            value = check_yaml(name, said[name])
        except ValueError as fault:
            faults.append(f"{prior}: {name}: {fault}")
            continue
        if isinstance(value, Interval | Choice) or value not in space[name]:
            faults.append(f"{prior}: {name}={value} is outside {space[name]}, which is searched")
        guess[name] = value
    unknown = [name for name in said if name not in KEYS] if "config.task" not in tree else []
    faults += [f"{prior}: {name} is no key of a training" for name in unknown]
    if not guess and not faults:
        faults.append(f"{prior}: says nothing of what is searched: {', '.join(space)}")
    if faults:
        raise ConfigError(*faults)
    return json.dumps(guess)


def guesses_of(prior: str, published: tuple[Guess, ...]) -> tuple[Guess, ...]:
    """The guesses that a kept ``search.prior`` stands for.

    Args:
        prior: as ``read_prior`` gave it.
        published: settings of the paper and its release, as far as they are searched.
    """
    if prior.startswith("{"):
        return (json.loads(prior),)
    return published if prior == "paper" else ()
