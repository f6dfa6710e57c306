"""Exported configurations: one file that says what to train, and where that came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dmu_search.config.compose import as_yaml_value, flatten, nest, read_plain, yaml_text
from dmu_search.config.keys import KEYS, Key, Value, key_meant, keys_of
from dmu_search.config.roots import default_of
from dmu_search.config.settings import RunSettings, build
from dmu_search.data.settings import DataSettings
from dmu_search.errors import ConfigError
from dmu_search.folders import write_whole
from dmu_search.paper.data import default_data
from dmu_search.paper.widths import resolve_widths
from dmu_search.retraining.comparison import Result

_IDENTITY = ("task", "model", "depth")


@dataclass(frozen=True)
class RunFile:
    """What a file to train from holds.

    Attributes:
        task: what is learned.
        model: the recurrent network.
        depth: its layers.
        values: the settings by dotted key.
        provenance: where they came from; empty for a hand-written file.
    """

    task: str
    model: str
    depth: int
    values: Mapping[str, Value]
    provenance: Mapping[str, Any]

    @property
    def used_seeds(self) -> range:
        """Seeds of the search and its finalists; none for a hand-written file.

        A setting found by a search is trained with others: otherwise the luck of the seeds that
        won would be counted again.
        """
        if not self.provenance:
            return range(0)
        first, count = (
            cast(int, self.values.get(name, default_of(name)))
            for name in ("training.seed", "training.replicas")
        )
        of_finalists = self._finalists.get("seeds")
        return range(first, first + count + (of_finalists if isinstance(of_finalists, int) else 0))

    @property
    def _finalists(self) -> Mapping[str, Any]:
        """What fresh seeds said; empty for a file that tells of none."""
        found = self.provenance.get("finalists")
        return found if isinstance(found, Mapping) else {}

    @property
    def data(self) -> DataSettings:
        """Which data the settings are for; the task's default where the file names none."""
        return self.data_with({})

    def data_with(self, given: Mapping[str, Value]) -> DataSettings:
        """``data``, with ``given`` values of the command line over it."""
        values = {**default_data(self.task), **self.values, **given}
        return build(DataSettings, "data", values=values)

    @property
    def data_sha256(self) -> str | None:
        """Hash of the data that the setting was found on; None where the file tells of none."""
        found_on = self.provenance.get("data")
        sha256 = found_on.get("sha256") if isinstance(found_on, Mapping) else None
        return None if sha256 is None else str(sha256)

    @property
    def result(self) -> Result | None:
        """What the search found with the setting; None in a file that no study wrote."""
        try:
            data, mean = self.provenance["data"], self._finalists.get("mean")
            return Result(
                objective=float(self.provenance["objective"]),
                # Files of the first version do not name the rule; there was only this one.
                rule=str(self.provenance.get("search_objective", "mean_over_replicas")),
                replicas=cast(int, self.values["training.replicas"]),
                epochs=cast(int, self.values["training.max_epochs"]),
                data=str(data["name"]),
                data_sha256=str(data["sha256"]),
                mean=None if mean is None else float(mean),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def run(self, given: Mapping[str, Value], defaults: Mapping[str, Value]) -> RunSettings:
        """Complete settings: the file's over ``defaults``, those of the command line over both.

        Raises:
            ConfigError: the network cannot be built, or a needed setting is missing.
        """
        values = {**defaults, **self.values, **given}
        faults = [
            f"{name}: {reason} in the file"
            for name in given
            if (reason := KEYS[name].misplaced([self.task], [self.model])) is not None
        ]
        if "training.learning_rate" not in values:
            faults.append("training.learning_rate: is missing from the file; add it")
        if faults:
            raise ConfigError(*faults)
        widths, _ = resolve_widths(
            self.task, self.model, depth=self.depth, rule=values["network.widths"]
        )
        return RunSettings.from_values(
            self.task, self.model, depth=self.depth, values={**values, "network.widths": widths}
        )


def read_run_file(path: Path) -> RunFile:
    """Read an exported file, or a hand-written one with or without the heading ``config``.

    Raises:
        ConfigError: every fault in it.
    """
    tree = read_plain(path)
    config, source = tree.get("config", tree), tree.get("provenance", {})
    for name, part in (("config", config), ("provenance", source)):
        if not isinstance(part, Mapping):
            raise ConfigError(f"{path}: {name}: must hold keys and values")
    flat = flatten({name: branch for name, branch in config.items() if name not in _IDENTITY})
    values, faults = _check(flat)
    identity, identity_faults = _check_identity(config)
    if not identity_faults:
        faults += [
            f"{name}: {reason}"
            for name in values
            if (reason := KEYS[name].misplaced([identity["task"]], [identity["model"]]))
        ]
    if faults or identity_faults:
        raise ConfigError(*(f"{path}: {fault}" for fault in (*identity_faults, *faults)))
    return RunFile(
        task=identity["task"],
        model=identity["model"],
        depth=identity["depth"],
        values=values,
        provenance=source,
    )


def _check(flat: Mapping[str, object]) -> tuple[dict[str, Value], list[str]]:
    known = {name: key for name, key in keys_of("train").items() if _of_a_run(name)}
    values: dict[str, Value] = {}
    faults = []
    for name, value in flat.items():
        if name not in known:
            faults.append(f"{name}: there is no such key{key_meant(name, known)}")
            continue
        try:
            values[name] = known[name].check(value)
        except ValueError as fault:
            faults.append(f"{name}: {fault}")
    return values, faults


def _of_a_run(name: str) -> bool:
    return name.startswith(("network.", "training.", "data."))


def _check_identity(config: Mapping[str, object]) -> tuple[dict[str, Any], list[str]]:
    rules = {
        "task": KEYS["task"],
        "model": KEYS["model"],
        "depth": Key("depth", "int", "", minimum=1),
    }
    identity, faults = {}, []
    for name, key in rules.items():
        try:
            identity[name] = key.check(config.get(name))
        except ValueError as fault:
            faults.append(f"{name}: {fault}")
    return identity, faults


def write_run_file(path: Path, run: RunSettings, *, provenance: Mapping[str, object]) -> None:
    """Write an exported file; a reader never meets half of it.

    Raises:
        StorageError: the folder cannot be written.
    """
    values = {name: as_yaml_value(value) for name, value in run.values().items()}
    config = {"task": run.task, "model": run.model, "depth": run.depth, **nest(values)}
    text = yaml_text({"config": config, "provenance": dict(provenance)})
    write_whole(path, text.encode())
