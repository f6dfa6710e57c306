"""Hydra's override grammar, read into plain values and distributions.

``compose()`` alone would refuse distributions, stop at the first unknown key and accept ``+new=1``;
so overrides are parsed and checked here, all of them, before anything is composed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    OverrideType,
    QuotedString,
    RangeSweep,
)
from hydra.errors import HydraException

from dmu_search.config.distributions import Choice, Distribution, Interval
from dmu_search.config.keys import Key, Value, key_meant, keys_of, shown
from dmu_search.errors import ConfigError

Setting = Value | Distribution


@dataclass(frozen=True)
class Alternatives:
    """A comma list of a key that takes one: each value is a study or a selection of its own."""

    values: tuple[Value, ...]


def parse_overrides(command: str, words: Sequence[str]) -> dict[str, Setting | Alternatives]:
    """Read ``key=value`` words as settings of the keys that ``command`` takes.

    Raises:
        ConfigError: every faulty word, each with its way out.
    """
    settings: dict[str, Setting | Alternatives] = {}
    faults = []
    for word in words:
        try:
            name, setting = _parse_word(command, word)
        except ValueError as fault:
            faults.append(str(fault))
            continue
        if name in settings:
            faults.append(f"{name}: given twice; keep one")
        settings[name] = setting
    if faults:
        raise ConfigError(*faults)
    return settings


def parse_setting(key: Key, text: str) -> Setting:
    """Read the text of a value or a distribution of ``key``, as YAML files hold it.

    Raises:
        ValueError: the rule that it breaks.
    """
    override = _parsed(f"{key.name}={text}")
    setting = _setting(key, override)
    if isinstance(setting, Alternatives):
        raise ValueError(_NO_LIST.format(values=_joined(setting)))
    return setting


def _parse_word(command: str, word: str) -> tuple[str, Setting | Alternatives]:
    name, equals, text = word.partition("=")
    if name.startswith(("+", "~")):
        raise ValueError(
            f"{word}: keys can be neither added nor removed; write {name.lstrip('+~')}=VALUE"
        )
    if not equals:
        raise ValueError(f"{word}: not understood; settings are written KEY=VALUE")
    known = keys_of(command)
    if name not in known:
        raise ValueError(
            f"{name}: {command} has no such key{key_meant(name, known)}; "
            f"`python -m dmu_search {command} --help-all` lists them"
        )
    key = known[name]
    try:
        # Taken as they are: "=", "~" and blanks are not the grammar's, and 007 is a name.
        if key.kind in ("path", "file", "name", "line"):
            return name, key.check(None if text == "null" else text)
        if key.kind == "corpus":
            return name, key.check(text)
        return name, _setting(key, _parsed(word))
    except ValueError as fault:
        raise ValueError(f"{name}: {fault}") from None


# No setting is longer, and Hydra's parser takes minutes for a word of a hundred thousand letters.
_LONGEST_WORD = 1000


def _parsed(word: str) -> Override:
    if len(word) > _LONGEST_WORD:
        raise ValueError(f"is longer than {_LONGEST_WORD} letters, got {len(word)}; shorten it")
    try:
        override = OverridesParser.create().parse_override(word)
    except (HydraException, RecursionError) as fault:
        reason = (str(fault).splitlines() or ["too deep"])[0][:100]
        text = word.partition("=")[2]
        raise ValueError(
            f"{shown(text)} is not understood ({reason}); quote text with blanks or symbols, "
            f"as in KEY='\"a value\"'"
        ) from None
    if override.type is not OverrideType.CHANGE or override.package is not None:
        raise ValueError(f"{shown(word)} is not of the form KEY=VALUE")
    return override


def _setting(key: Key, override: Override) -> Setting | Alternatives:
    value = override.value()
    if isinstance(value, ChoiceSweep) and value.simple_form:
        alternatives = Alternatives(tuple(key.check(_plain(item)) for item in value.list))
        if not key.listable:
            raise ValueError(_NO_LIST.format(values=_joined(alternatives)))
        if len(set(alternatives.values)) < len(alternatives.values):
            raise ValueError(f"a value is listed twice in {_joined(alternatives)}")
        return alternatives
    if not isinstance(value, ChoiceSweep | RangeSweep | IntervalSweep | Glob):
        return key.check(_plain(value))
    if not key.searchable:
        way_out = (
            "a comma list makes a study of each" if key.listable else "give it one value instead"
        )
        raise ValueError(f"takes no distribution, got {override.get_value_string()}; {way_out}")
    if isinstance(value, ChoiceSweep):
        return _choice(key, value)
    if isinstance(value, IntervalSweep | RangeSweep):
        return _interval(key, value)
    raise ValueError("glob(..) has no meaning here; use choice(..)")


_NO_LIST = (
    "a comma list is for task, model and depth; "
    "write choice({values}) to search over these values, or one of them to fix it"
)


def _joined(alternatives: Alternatives) -> str:
    return ",".join(str(value) for value in alternatives.values)


def _plain(item: object) -> object:
    if isinstance(item, QuotedString):
        return item.text
    return [_plain(element) for element in item] if isinstance(item, list) else item


def _choice(key: Key, sweep: ChoiceSweep) -> Choice:
    if sweep.tags:
        raise ValueError(f"choice(..) takes no tag, got {', '.join(sorted(sweep.tags))}")
    values = tuple(key.check(_plain(item)) for item in sweep.list)
    if len(set(values)) < len(values):
        raise ValueError(f"a value is listed twice in choice({','.join(map(str, values))})")
    return Choice(values)


def _interval(key: Key, sweep: IntervalSweep | RangeSweep) -> Interval:
    low, high = _bounds(sweep)
    if key.kind not in ("int", "float"):
        raise ValueError(f"takes {key.rule()}, no interval; use choice(..)")
    if unknown := sorted(sweep.tags - {"log"}):
        raise ValueError(f"the only tag is log, got {', '.join(unknown)}")
    if low > high:
        raise ValueError(f"the bounds are reversed: {low} > {high}; write interval({high},{low})")
    log = "log" in sweep.tags
    if log and low <= 0:
        raise ValueError(
            f"the lower bound of a log scale must be > 0, got {low}; "
            "use a small positive bound such as 1e-5"
        )
    low, high = key.check(low), key.check(high)  # type: ignore[assignment]
    step = _step(sweep, low, high=high, log=log)
    if step is not None and key.kind == "int":
        if step != int(step):
            raise ValueError(f"takes whole numbers, got steps of {step}; use whole steps")
        step = int(step)
    return Interval(low, high, log=log, integer=key.kind == "int", step=step)


def _bounds(sweep: IntervalSweep | RangeSweep) -> tuple[float, float]:
    bounds = (
        (sweep.start, sweep.end) if isinstance(sweep, IntervalSweep) else (sweep.start, sweep.stop)
    )
    if bounds[0] is None or bounds[1] is None:
        raise ValueError("needs two bounds, as in interval(0.1,1) or range(16,64,16)")
    return float(bounds[0]), float(bounds[1])


def _step(sweep: IntervalSweep | RangeSweep, low: float, *, high: float, log: bool) -> float | None:
    if isinstance(sweep, IntervalSweep):
        return None
    step = float(sweep.step)
    if log:
        raise ValueError("range(..) has no log scale; use tag(log,interval(..))")
    if step <= 0 or high not in Interval(low, high, step=step):
        raise ValueError(
            f"the steps of range({low},{high},{step}) must be > 0 and end at the upper bound, "
            "which is included"
        )
    return step
