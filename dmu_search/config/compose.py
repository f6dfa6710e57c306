"""Composing one study's configuration from ``search_spaces/`` and the command line."""

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dmu_search.config.grammar import Setting, parse_setting
from dmu_search.config.keys import KEYS, Value
from dmu_search.config.roots import configuration_root
from dmu_search.errors import ConfigError
from dmu_search.names import is_own


@dataclass(frozen=True)
class Composed:
    """Every setting of one study and where each was given.

    Attributes:
        settings: key -> value or distribution.
        origins: key -> ``command line`` or the YAML file.
    """

    settings: Mapping[str, Setting]
    origins: Mapping[str, str]


def compose_study(task: str, model: str, *, given: Mapping[str, Setting]) -> Composed:
    """Lay ``given`` (from the command line) over the YAML of ``task`` and ``model``.

    Raises:
        ConfigError: a YAML file is missing; or all settings that break a rule, each with its file.
    """
    from_files, files = _composed(configuration_root(), task, model=model)
    settings = {**from_files, **given}
    origins = {name: "command line" if name in given else files[name] for name in settings}
    return Composed(settings, origins)


# Hydra takes a tenth of a second, and a list of studies asks for the same again and again.
@cache
def _composed(
    root: Path, task: str, *, model: str
) -> tuple[Mapping[str, Setting], Mapping[str, str]]:
    """What the files alone say, as a process first read them, and the file of each key."""
    _check_files(root, task, model=model)
    with initialize_config_dir(str(root), version_base="1.3"):
        # A user's own has no file.
        chosen = [f"~{g}" if is_own(name) else f"{g}={name}" for g, name in _groups(task, model)]
        tree = compose("config", chosen)
    plain = flatten(OmegaConf.to_container(tree, resolve=True))
    files = _origins(root, task, model=model, names=plain)
    settings = _check(plain, files)
    # The root file has the keys of all tasks and models.
    return {k: v for k, v in settings.items() if KEYS[k].exists_for(task, model)}, files


def _groups(task: str, model: str) -> tuple[tuple[str, str], ...]:
    return (("task", task), ("model", model))


def _files(root: Path, task: str, *, model: str) -> list[Path]:
    """The shipped files of a task and a model; a user's own have none."""
    return [root / g / f"{name}.yaml" for g, name in _groups(task, model) if not is_own(name)]


def _check_files(root: Path, task: str, *, model: str) -> None:
    files = _files(root, task, model=model)
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ConfigError(
            *(f"{file}: no such file; every {file.parent.name} has one" for file in missing)
        )


def flatten(tree: object, prefix: str = "") -> dict[str, object]:
    """Nested mappings as one, with dotted keys: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    flat: dict[str, object] = {}
    for name, branch in tree.items():
        flat.update(flatten(branch, f"{prefix}.{name}" if prefix else str(name)))
    return flat


def nest(flat: Mapping[str, object]) -> dict[str, object]:
    """The inverse of ``flatten``."""
    tree: dict[str, object] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})  # type: ignore[assignment]
        branch[last] = value
    return tree


def check_yaml(name: str, value: object) -> Setting:
    """A YAML value of the key ``name``: a value, or the text of a distribution.

    Raises:
        ValueError: the rule that it breaks.
    """
    key = KEYS[name]
    if key.searchable and isinstance(value, str) and "(" in value:
        return parse_setting(key, value)
    return key.check(value)


def read_yaml(path: Path) -> DictConfig:
    """A YAML file as OmegaConf reads it (``1e-4`` is a number, unlike in PyYAML).

    Raises:
        ConfigError: it is missing, unreadable or holds no mapping.
    """
    try:
        text = _text_of(path)
        _check_size_of_tree(path, text)
        tree = OmegaConf.load(io.StringIO(text))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; check the path") from None
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply; write keys and values only") from None
    except yaml.MarkedYAMLError as fault:
        line = "" if fault.problem_mark is None else f":{fault.problem_mark.line + 1}"
        raise ConfigError(
            f"{path}{line}: not readable as YAML: {fault.problem or _one_line(fault)}"
        ) from None
    except Exception as fault:  # OmegaConf passes on whatever its YAML parser raises.
        raise ConfigError(f"{path}: not readable as YAML: {_one_line(fault)}") from None
    if not isinstance(tree, DictConfig):
        raise ConfigError(f"{path}: must hold keys and values, as in `training: {{..}}`")
    return tree


def read_plain(path: Path) -> dict[str, Any]:
    """A YAML file as a plain mapping, its interpolations (``${..}``) resolved.

    Raises:
        ConfigError: as ``read_yaml``, or an interpolation cannot be resolved.
    """
    try:
        return plain_tree(read_yaml(path))
    except OmegaConfBaseException as fault:
        reason = str(fault).splitlines()[0]
        raise ConfigError(
            f"{path}: {fault.full_key}: cannot be resolved ({reason}); write the value itself"
        ) from None


def lines_of(path: Path) -> dict[str, int]:
    """The line, from 1, on which each dotted key of a readable YAML file stands."""
    root = yaml.compose(_text_of(path), Loader=yaml.SafeLoader)
    return {} if root is None else dict(_lines_below(root, ""))


def _lines_below(node: yaml.Node, prefix: str) -> Iterator[tuple[str, int]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        yield name, key.start_mark.line + 1
        yield from _lines_below(value, f"{name}.")


def plain_tree(*trees: DictConfig) -> dict[str, Any]:
    """YAML trees as one plain mapping, later ones laid over earlier ones."""
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.merge(*trees), resolve=True))


def yaml_text(tree: Mapping[str, object]) -> str:
    """``tree`` as YAML text."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(tree)))


def as_yaml_value(value: Value) -> object:
    """``value`` as YAML holds it: tuples are lists."""
    return list(value) if isinstance(value, tuple) else value


def _check(plain: Mapping[str, object], files: Mapping[str, str]) -> dict[str, Setting]:
    settings, faults = {}, []
    for name, value in plain.items():
        if name not in KEYS:
            faults.append(f"{files[name]}: {name}: there is no such key")
            continue
        try:
            settings[name] = check_yaml(name, value)
        except ValueError as fault:
            faults.append(f"{files[name]}: {name}: {fault}")
    if faults:
        raise ConfigError(*faults)
    return settings


def with_shared(path: Path) -> dict[Path, DictConfig]:
    """A YAML file, and before it those of its folder that its ``defaults`` name, as in Hydra.

    Raises:
        ConfigError: one of them is missing, unreadable or holds no mapping.
    """
    tree = read_yaml(path)
    shared = {path.with_name(f"{name}.yaml"): None for name in tree.pop("defaults", ())}
    return {file: read_yaml(file) for file in shared} | {path: tree}


def _origins(root: Path, task: str, *, model: str, names: Iterable[str]) -> dict[str, str]:
    """The file that decides each key: the model's, over the task's, over the common one."""
    files = _files(root, task, model=model)
    loaded = {path: tree for file in files for path, tree in with_shared(file).items()}
    trees = {path.relative_to(root): tree for path, tree in reversed(loaded.items())}
    missing = object()
    return {
        name: f"{root.name}/"
        + next(
            (
                str(file)
                for file, tree in trees.items()
                if OmegaConf.select(tree, name, default=missing) is not missing
            ),
            "config.yaml",
        )
        for name in names
    }


# A file of settings has some thousand bytes and some hundred values.
_LARGEST_FILE = 100_000
_LARGEST_TREE = 100_000


def _text_of(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: is no regular file; name a YAML file")
    if path.stat().st_size > _LARGEST_FILE:
        raise ConfigError(
            f"{path}: has {path.stat().st_size} bytes, more than the {_LARGEST_FILE} that settings "
            "ever need; check the path"
        )
    return path.read_text(encoding="utf-8")


def _check_size_of_tree(path: Path, text: str) -> None:
    """Refuse a few lines of aliases of aliases that stand for billions of values."""
    if "*" not in text:
        return
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None and _values_below(root, {}) > _LARGEST_TREE:
        raise ConfigError(
            f"{path}: its aliases (*name) stand for more than {_LARGEST_TREE} values; write the "
            "values themselves"
        )


def _values_below(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node stands for, aliases written out; inf where one holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        flat = [each for part in parts for each in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_values_below(each, known) for each in flat)
    return known[id(node)]


def _one_line(fault: Exception) -> str:
    return " ".join(str(fault).split())
