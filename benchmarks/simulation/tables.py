"""Our table of recurrent networks: see benchmarks/tables/README.md."""

import csv
import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dmu_search.config.distributions import Choice, Distribution, Interval
from dmu_search.config.grammar import parse_setting
from dmu_search.config.keys import KEYS, Value
from dmu_search.errors import ConfigError
from dmu_search.on_ray.objective import objective_over_replicas
from simulation.problems import Training

TABLES = Path(__file__).parents[1] / "tables"
ABOUT, SETTINGS, CURVES = "about.json", "settings.csv", "curves.csv.gz"
# Losses on these tasks fall over several orders of magnitude.
_LOG_TASKS = ("adding", "tempord")


@dataclass(frozen=True)
class Recorded:
    """A setting of the table.

    Attributes:
        number: of the setting.
        source: ``random``, or whose published setting it is.
        values: its searched keys.
        seconds_per_epoch: of all its seeds together.
        losses: after each epoch, ``(seed, epoch)``; nan from the epoch on in which a seed diverged.
    """

    number: int
    source: str
    values: Mapping[str, Value]
    seconds_per_epoch: float
    losses: NDArray[np.float64]

    def training(self, seed: int | None) -> Training:
        """The training as a study sees it: the best so far, of one seed or the mean over all."""
        losses = self.losses if seed is None else self.losses[seed : seed + 1]
        best = np.fmin.accumulate(losses, axis=1)
        objectives = [
            objective_over_replicas("mean_over_replicas", of_epoch.tolist(), direction="minimize")
            for of_epoch in best.T
        ]
        # A training ends where none of its replicas can come to anything any more.
        over = np.isnan(losses).all(axis=0)
        objectives = np.where(over, math.nan, objectives).tolist()
        return Training(tuple(objectives), self.seconds_per_epoch * len(losses) / len(self.losses))


class Table:
    """One part of the table, as ``adding-dmu``; ``adding-dmu@2`` is its seed 2 alone.

    Args:
        name: of the part.
        folder: of all parts.

    Raises:
        ConfigError: there is no such part or seed.
    """

    def __init__(self, name: str, folder: Path = TABLES) -> None:
        part, _, seed = name.partition("@")
        if not (folder / part / ABOUT).is_file():
            raise ConfigError(f"--table {name}: no such part; there are {', '.join(parts(folder))}")
        about = json.loads((folder / part / ABOUT).read_text())
        if seed and not (seed.isdigit() and int(seed) < about["seeds"]):
            raise ConfigError(f"--table {name}: its seeds are 0 to {about['seeds'] - 1}")
        self.name = name
        self.seed = int(seed) if seed else None
        self.space: Mapping[str, Distribution] = {
            key: _distribution(key, text) for key, text in about["space"].items()
        }
        self.max_epochs = int(about["epochs"])
        self.scale: Literal["linear", "log"] = "log" if about["task"] in _LOG_TASKS else "linear"
        self.settings = tuple(_read(folder / part, tuple(self.space)))

    @property
    def random_settings(self) -> tuple[Recorded, ...]:
        """What a proposal can be answered with."""
        return tuple(each for each in self.settings if each.source == "random")

    def begin(self) -> "TableRun":
        """A fresh start: no setting is used."""
        return TableRun(self)

    def prior(self, quality: str) -> dict[str, Value]:
        """The paper's setting, as a good prior.

        Raises:
            ConfigError: another quality is asked for.
        """
        paper = [each for each in self.settings if "paper" in each.source]
        if quality != "good" or not paper:
            raise ConfigError(f"--prior {quality}: the table {self.name} has a good prior only")
        return dict(paper[0].values)

    def best_known(self) -> float:
        """The lowest objective of all random settings at any epoch."""
        final = [each.training(self.seed).objectives for each in self.random_settings]
        return float(np.nanmin(np.array(final)))


class TableRun:
    """Answers each proposal with the nearest setting that is not used yet."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._unused = list(table.random_settings)
        self._places = np.array([place(table.space, each.values) for each in self._unused])

    def answer(self, values: Mapping[str, Value]) -> Recorded | None:
        """The nearest unused setting; None where all are used."""
        if not self._unused:
            return None
        own = place(self._table.space, values)
        nearest = int(np.argmin(distances(own, self._places)))
        self._places = np.delete(self._places, nearest, axis=0)
        return self._unused.pop(nearest)

    def train(self, values: Mapping[str, Value]) -> Training | None:
        """The training of its answer."""
        recorded = self.answer(values)
        return None if recorded is None else recorded.training(self._table.seed)


def place(space: Mapping[str, Distribution], values: Mapping[str, Value]) -> NDArray[np.float64]:
    """Where a setting lies in the unit cube; nan where a key does not apply.

    An interval goes from 0 to 1 on its own scale, a choice of numbers in equal steps. A choice of
    words has a coordinate for each word, so that two words are 1 apart.
    """
    coordinates: list[float] = []
    for name, distribution in space.items():
        value = values.get(name)
        if isinstance(distribution, Interval):
            coordinates.append(math.nan if value is None else _in_interval(value, distribution))
        elif all(isinstance(v, int | float) for v in distribution.values):
            ordered = sorted(distribution.values)  # type: ignore[type-var]
            steps = max(len(ordered) - 1, 1)
            coordinates.append(math.nan if value is None else ordered.index(value) / steps)
        else:
            coordinates += [(value == word) * math.sqrt(0.5) for word in distribution.values]
    return np.array(coordinates)


def distances(own: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distance of one place to each of several.

    A key that one of two settings lacks adds nothing: they differ already in the key that it
    depends on.
    """
    result: NDArray[np.float64] = np.sqrt(np.nansum((others - own) ** 2, axis=1))
    return result


def parts(folder: Path = TABLES) -> tuple[str, ...]:
    """Names of all parts."""
    return tuple(sorted(file.parent.name for file in folder.glob(f"*/{ABOUT}")))


def write_part(
    folder: Path, about: Mapping[str, Any], *, lines: Sequence[Mapping[str, Any]]
) -> None:
    """Write one part of the table.

    Args:
        folder: of the part.
        about: what its ``about.json`` says.
        lines: of ``record_table.py``, in any order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(lines, key=lambda line: int(line["setting"]))
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
    with (folder / SETTINGS).open("w", newline="") as opened:
        rows = csv.writer(opened, lineterminator="\n")
        rows.writerow(["setting", "source", *about["space"], "seconds_per_epoch"])
        for line in ordered:
            values = [line["values"].get(name, "") for name in about["space"]]
            seconds = f"{line['seconds_per_epoch']:.4g}"
            rows.writerow([line["setting"], line["source"], *values, seconds])
    # Neither time nor name: equal content is an equal file.
    with (
        (folder / CURVES).open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
    ):
        packed.write(_curves_text(about["epochs"], ordered).encode())


def _curves_text(epochs: int, lines: Sequence[Mapping[str, Any]]) -> str:
    rows = [",".join(["setting", "seed", *map(str, range(1, epochs + 1))])]
    for line in lines:
        for seed, losses in enumerate(line["losses"]):
            shown = ["" if loss is None else f"{loss:.4g}" for loss in losses]
            rows.append(",".join([str(line["setting"]), str(seed), *shown]))
    return "\n".join(rows) + "\n"


def _read(folder: Path, names: Sequence[str]) -> Iterator[Recorded]:
    curves: dict[int, list[list[float]]] = {}
    with gzip.open(folder / CURVES, "rt", newline="") as packed:
        for row in list(csv.reader(packed))[1:]:
            losses = [float(text) if text else math.nan for text in row[2:]]
            curves.setdefault(int(row[0]), []).append(losses)
    with (folder / SETTINGS).open(newline="") as opened:
        for entry in csv.DictReader(opened):
            values = {name: KEYS[name].check(_number(entry[name])) for name in names if entry[name]}
            yield Recorded(
                int(entry["setting"]),
                entry["source"],
                values,
                float(entry["seconds_per_epoch"]),
                np.array(curves[int(entry["setting"])]),
            )


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _distribution(name: str, text: str) -> Distribution:
    setting = parse_setting(KEYS[name], text)
    assert isinstance(setting, Interval | Choice), "a space holds distributions"
    return setting


def _in_interval(value: Value, interval: Interval) -> float:
    assert isinstance(value, int | float)
    low, high = interval.low, interval.high
    if interval.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)
