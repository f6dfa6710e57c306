"""A user's own YAML over the shipped one: any keys of ``tune``, as values or distributions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dmu_search.config.compose import (
    Composed,
    check_yaml,
    compose_study,
    flatten,
    lines_of,
    read_plain,
)
from dmu_search.config.grammar import Setting
from dmu_search.config.keys import KEYS, did_you_mean, keys_of
from dmu_search.errors import ConfigError

IDENTITY = ("task", "model", "depth")
# Of a command, not of a space.
_OF_COMMANDS = ("config", "config_dir", "name", "resume", "screen")


@dataclass(frozen=True)
class OwnFile:
    """Settings of a file, and where each stands.

    Attributes:
        path: of the file.
        settings: key -> value or distribution.
        lines: key -> line, from 1.
    """

    path: Path
    settings: Mapping[str, Setting]
    lines: Mapping[str, int]

    def place(self, name: str) -> str:
        """File and line of a key."""
        return _place(self.path, self.lines, name=name)


def read_own(path: Path) -> OwnFile:
    """Read a file with settings for ``tune``.

    Raises:
        ConfigError: it cannot be read; or all its faults, each with its line.
    """
    tree = read_plain(path)
    if "provenance" in tree and "config" in tree:
        raise ConfigError(
            f"{path}: is a setting that a study found, not a space; train it with `train "
            f"config={path}`, or begin a search near it with search.prior={path}"
        )
    lines = lines_of(path)
    known = [name for name in keys_of("tune") if name not in _OF_COMMANDS]
    settings: dict[str, Setting] = {}
    faults = []
    for name, value in flatten(tree).items():
        place = _place(path, lines, name=name)
        if name not in known:
            faults.append(f"{place}: {name}: there is no such key{did_you_mean(name, known)}")
            continue
        try:
            settings[name] = check_yaml(name, value)
        except ValueError as fault:
            faults.append(f"{place}: {name}: {fault}")
    if faults:
        raise ConfigError(*faults)
    return OwnFile(path, settings, lines)


def read_folder(folder: Path, task: str, *, model: str) -> tuple[OwnFile, ...]:
    """The files of a folder laid out as ``search_spaces/``, for one task and model, in order.

    Raises:
        ConfigError: it has none of them, or one has faults.
    """
    names = ("config.yaml", f"task/{task}.yaml", f"model/{model}.yaml")
    there = [folder / name for name in names if (folder / name).is_file()]
    if not there:
        raise ConfigError(
            f"--config-dir {folder}: has none of {', '.join(names)}; name a folder with files "
            "as in search_spaces/, or give one file with config=FILE"
        )
    files = tuple(read_own(path) for path in there)
    chosen = [(file, name) for file in files for name in IDENTITY if name in file.settings]
    if chosen:
        raise ConfigError(
            *(
                f"{file.place(name)}: {name}: is chosen on the command line or in config=FILE, "
                "not in --config-dir; leave it out"
                for file, name in chosen
            )
        )
    return files


def files_for(task: str, model: str, *, given: Mapping[str, object]) -> tuple[OwnFile, ...]:
    """The files that ``config_dir`` and ``config`` among the keys of a command name, in order.

    Raises:
        ConfigError: as ``read_own`` and ``read_folder``.
    """
    folder, path = given.get("config_dir"), given.get("config")
    of_folder = () if folder is None else read_folder(Path(str(folder)), task, model=model)
    return of_folder if path is None else (*of_folder, read_own(Path(str(path))))


def identity_of(files: Sequence[OwnFile]) -> dict[str, Setting]:
    """Task, model and depth, as far as the files say; later ones win."""
    given = {name: value for file in files for name, value in file.settings.items()}
    return {name: given[name] for name in IDENTITY if name in given}


def misplaced(file: OwnFile, tasks: Sequence[str], *, models: Sequence[str]) -> list[str]:
    """Faults: keys that none of the tasks and models has."""
    return [
        f"{file.place(name)}: {name}: {reason}"
        for name in file.settings
        if (reason := KEYS[name].misplaced(tasks, models)) is not None
    ]


def compose_with(
    task: str, model: str, *, files: Sequence[OwnFile], given: Mapping[str, Setting]
) -> Composed:
    """Lay a user's files over the shipped YAML, and ``given`` (from the command line) over both.

    Args:
        task: what is learned.
        model: the recurrent network.
        files: later ones over earlier ones.
        given: settings, by key.

    Raises:
        ConfigError: as ``compose_study``.
    """
    over = {
        name: (setting, file.place(name))
        for file in files
        for name, setting in file.settings.items()
        if KEYS[name].exists_for(task, model) and name not in IDENTITY
    }
    composed = compose_study(task, model, given=given)
    kept = {name: own for name, own in over.items() if name not in given}
    return Composed(
        {**composed.settings, **{name: setting for name, (setting, _) in kept.items()}},
        {**composed.origins, **{name: place for name, (_, place) in kept.items()}},
    )


def placed(fault: str, *, files: Sequence[OwnFile], given: Mapping[str, Setting]) -> str:
    """A sentence that begins with a key, after the file and line that gave the key, if one did."""
    name = re.split("[:=]", fault)[0]
    own = [file for file in files if name in file.settings and name not in given]
    return f"{own[-1].place(name)}: {fault}" if own else fault


def _place(path: Path, lines: Mapping[str, int], *, name: str) -> str:
    return f"{path}:{lines[name]}" if name in lines else str(path)
