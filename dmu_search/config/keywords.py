"""Settings from Python keywords: a key by its whole name, or by its last part where it is alone."""

from collections.abc import Mapping
from pathlib import Path

from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.grammar import Setting, parse_setting
from dmu_search.config.keys import Key, did_you_mean, keys_of
from dmu_search.errors import ConfigError


def settings_from(command: str, *groups: Mapping[str, object]) -> dict[str, Setting]:
    """Values and distributions of the keys of a command, checked as on its command line.

    Args:
        command: whose keys they are.
        groups: from names to values, distributions or their texts.

    Raises:
        ConfigError: every fault: no such key, a name that several keys have, or a bad value.
    """
    settings: dict[str, Setting] = {}
    faults = []
    for word, value in (item for group in groups for item in group.items()):
        try:
            key = _key(command, word)
        except ValueError as fault:
            faults.append(str(fault))
            continue
        if key.name in settings:
            faults.append(f"{key.name}: given twice; keep one")
        try:
            settings[key.name] = _setting(key, value)
        except ValueError as fault:
            faults.append(f"{key.name}: {fault}")
    if faults:
        raise ConfigError(*faults)
    return settings


def _key(command: str, word: str) -> Key:
    known = keys_of(command)
    if word in known:
        return known[word]
    same = [name for name in known if name.rpartition(".")[2] == word]
    if len(same) > 1:
        raise ValueError(f"{word}: may be {' or '.join(same)}; write overrides={{{same[0]!r}: ..}}")
    if not same:
        names = {name.rpartition(".")[2]: name for name in known}
        meant = did_you_mean(word, [*known, *names])
        raise ValueError(
            f"{word}: {command} has no such key{meant}; `python -m dmu_search {command} --help` "
            "lists them"
        )
    return known[same[0]]


def _setting(key: Key, value: object) -> Setting:
    if isinstance(value, Interval | Choice):
        return parse_setting(key, str(value))
    if isinstance(value, Path):
        return key.check(str(value))
    if isinstance(value, list):
        value = tuple(value)
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()  # a number of numpy's
    if key.searchable and isinstance(value, str) and "(" in value:
        return parse_setting(key, value)
    return key.check(value)
