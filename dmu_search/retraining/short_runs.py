"""Short trainings of recorded settings, and whether they agree with the recorded ones."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dmu_search.config.settings import RunSettings
from dmu_search.data.loading import LoadedData
from dmu_search.errors import ConfigError
from dmu_search.names import TASKS
from dmu_search.results.statistics import interval_of_next
from dmu_search.results.trainings import RecordedRun
from dmu_search.retraining.sources import Sourced

# Seeds that nothing else uses.
FIRST_SEED = 100_000
# A training is short if it takes about so long and no more epochs than these.
_SECONDS, _EPOCHS = 60.0, 5
# Trainings of settings that many seeds are recorded of; of the others there is one.
_MANY, _REPLICAS = 10, 8
# Chance that any of all comparisons fails although new trainings are like the recorded ones.
FALSE_ALARM = 0.01
# How far one training may lie from a single recorded one, whose scatter is unknown, relatively.
_FROM_ONE = 0.1

Settings = Sequence[tuple[tuple[str, ...], Sourced]]


@dataclass(frozen=True)
class Comparison:
    """New trainings of a setting beside the recorded ones, after as many epochs.

    Attributes:
        run: what was trained anew.
        sources: whose setting it is.
        recorded: validation objective of each recorded seed after those epochs.
        new: that of each new one; empty while they are not trained.
        lowest: lowest mean of the new ones that agrees.
        highest: highest one.
    """

    run: RunSettings
    sources: tuple[str, ...]
    recorded: tuple[float, ...]
    new: tuple[float, ...]
    lowest: float
    highest: float

    @property
    def mean(self) -> float:
        """Of the new ones, geometric for losses; nan if one diverged or there is none."""
        return _mean(self.new, losses=_losses(self.run)) if self.new else math.nan

    @property
    def agrees(self) -> bool:
        """Whether the mean of the new ones lies within the interval."""
        return self.lowest <= self.mean <= self.highest


def shortened(
    settings: Settings, recorded: Sequence[RecordedRun], *, data: LoadedData
) -> tuple[tuple[tuple[str, ...], Sourced], ...]:
    """Each setting that has recorded trainings on the data, with few epochs and seeds of its own.

    Args:
        settings: sources and settings.
        recorded: trainings to compare with.
        data: of the settings' tasks.

    Raises:
        ConfigError: none has.
    """
    short = []
    for names, one in settings:
        same = _same(one.run, recorded, data=data)
        if not same:
            continue
        epochs = min(_EPOCHS, max(1, int(_SECONDS / _seconds_per_epoch(same))))
        epochs = min(epochs, *(run.epochs for run in same))
        seeds = sum(len(run.replicas) for run in same)
        training = replace(
            one.run.training,
            max_epochs=epochs,
            replicas=_REPLICAS if seeds >= _MANY else 1,
            seed=FIRST_SEED,
        )
        short.append((names, replace(one, run=replace(one.run, training=training))))
    if not short:
        raise ConfigError(
            "records: has no training of these settings on this data; name other ones, or another "
            "folder"
        )
    return tuple(short)


def compared(
    short: Settings,
    recorded: Sequence[RecordedRun],
    *,
    new: Iterable[RecordedRun],
    data: LoadedData,
) -> tuple[Comparison, ...]:
    """The short trainings beside the recorded ones.

    The interval is Student's prediction interval for the mean of the new ones, of logarithms where
    the objective is a loss, so wide that all comparisons together raise a false alarm in one of a
    hundred times. Recorded seeds that diverged by then are left out.

    Args:
        short: settings by ``shortened``.
        recorded: trainings to compare with.
        new: those of the short settings among them are compared.
        data: of the settings' tasks.
    """
    trained = tuple(new)
    return tuple(
        _compared(
            one.run,
            names,
            before=_same(one.run, recorded, data=data),
            after=_same(one.run, trained, data=data),
            chance=FALSE_ALARM / len(short),
        )
        for names, one in short
    )


def _compared(
    run: RunSettings,
    sources: tuple[str, ...],
    *,
    before: Sequence[RecordedRun],
    after: Sequence[RecordedRun],
    chance: float,
) -> Comparison:
    epoch = run.training.max_epochs
    values = [value for value in _after(epoch, before) if math.isfinite(value)]
    new = _after(epoch, [each for each in after if each.run.values() == run.values()])
    count, losses = run.training.replicas, _losses(run)
    lowest, highest = _interval(values, count, losses=losses, chance=chance)
    return Comparison(run, sources, tuple(values), tuple(new), lowest, highest)


def _interval(
    values: Sequence[float], count: int, *, losses: bool, chance: float
) -> tuple[float, float]:
    if not values:
        return math.nan, math.nan
    if len(values) == 1:
        return values[0] * (1 - _FROM_ONE), values[0] * (1 + _FROM_ONE)
    scaled = [math.log(value) for value in values] if losses else values
    lowest, highest = interval_of_next(scaled, count, chance=chance)
    return (math.exp(lowest), math.exp(highest)) if losses else (lowest, highest)


def _mean(values: Sequence[float], *, losses: bool) -> float:
    if not losses:
        return math.fsum(values) / len(values)
    if not all(value > 0 for value in values):
        return math.nan
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _losses(run: RunSettings) -> bool:
    return TASKS[run.task].direction == "minimize"


def _after(epoch: int, runs: Iterable[RecordedRun]) -> list[float]:
    """The validation objective of all seeds after an epoch."""
    return [
        replica.curve[epoch - 1]
        for run in runs
        for replica in run.replicas
        if len(replica.curve) >= epoch
    ]


def _seconds_per_epoch(runs: Sequence[RecordedRun]) -> float:
    """Of the cheapest recorded training, all its seeds together."""
    return min(run.seconds / run.epochs for run in runs)


def _same(
    run: RunSettings, recorded: Iterable[RecordedRun], *, data: LoadedData
) -> list[RecordedRun]:
    """Trainings of the setting on the data, whatever their seeds and epochs."""
    sha256 = data[run.task, run.data].sha256
    return [
        each
        for each in recorded
        if each.epochs and each.run.setting == run.setting and each.data_sha256 == sha256
    ]


def check_settings(given: Iterable[str]) -> list[str]:
    """What cannot be given for short trainings, which choose it; a sentence for each."""
    return [
        f"{name}: short trainings choose it; leave it out, or leave out short"
        for name in given
        if name in ("training.max_epochs", "training.replicas", "training.seed", "plan_only")
    ]
