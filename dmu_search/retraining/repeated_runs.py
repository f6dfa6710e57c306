"""Recorded runs trained again, with their own seeds, and whether they come out equal."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dmu_search.config.keys import Value
from dmu_search.config.settings import RunSettings
from dmu_search.data.loading import LoadedData
from dmu_search.engine.plans.machine import COMPUTED_BY
from dmu_search.engine.tasks import task_class
from dmu_search.errors import ConfigError
from dmu_search.results.selection import Sample
from dmu_search.results.trainings import RecordedRun, Replica
from dmu_search.retraining.agreement import FALSE_ALARM, Foretold, foretold, near
from dmu_search.retraining.sources import Settings, Sourced

# What decides the bits of a training of some setting, seed and data.
_DECIDES = tuple(name for name in COMPUTED_BY if name != "commit")
_GIVEN = ("cell", "runs", "records", "training.max_epochs", "data.root", "data.mirror")
_MEANS = ("output_dir", "resources.", "tracking.")
# Results are sums of doubles, added in an order that depends on how many runs are trained at once.
RESULT_DIGITS = 12

EQUAL, WITHIN, DIFFERS, UNTRAINED = "equal", "within the spread", "differs", "not trained"


@dataclass(frozen=True)
class Spread:
    """Where a run may lie that is trained again on another machine.

    Attributes:
        interval: foretold by the cell's other runs; None where there are too few.
        others: how many there are.
        holds: whether the run lies there, or as near to its record as the others scatter.
    """

    interval: Foretold | None
    others: int
    holds: bool


@dataclass(frozen=True)
class Repetition:
    """A recorded run, and the same trained again.

    Attributes:
        seed: of both.
        before: the training that the recorded one is from.
        after: the new one; None where nothing was trained.
        epochs: that both have, and that were compared.
        parts_at: the first epoch whose validation objectives are not the same number; None: none.
        results: names of the results at the best epoch that were compared.
        unequal: those that are not the same in ``RESULT_DIGITS`` digits.
        differences: what decides the bits and is not the same, or not known to be: name, value of
            the recorded training (None: not recorded) and of the new one.
        measure: the result that stands for the run.
        recorded: its value in the record.
        new: its value now.
        spread: where the new value may lie; None where both are equal.
        outcome: ``EQUAL``, ``WITHIN``, ``DIFFERS`` or ``UNTRAINED``.
    """

    seed: int
    before: RecordedRun
    after: RecordedRun | None
    epochs: int
    parts_at: int | None
    results: tuple[str, ...]
    unequal: tuple[str, ...]
    differences: tuple[tuple[str, str | None, str | None], ...]
    measure: str
    recorded: float
    new: float
    spread: Spread | None
    outcome: str

    @property
    def agrees(self) -> bool:
        """Whether it came out as it has to."""
        return self.outcome in (EQUAL, WITHIN)


def check_given(given: Iterable[str]) -> None:
    """Check that nothing is given that the recorded runs decide.

    Raises:
        ConfigError: some is.
    """
    others = [name for name in given if name not in _GIVEN and not name.startswith(_MEANS)]
    if others:
        raise ConfigError(
            *(
                f"{name}: does not go with cell, whose recorded runs are trained as they were; "
                "leave out one of the two"
                for name in others
            )
        )


def repeated_settings(
    sources: tuple[str, ...],
    sample: Sample,
    *,
    runs: int,
    max_epochs: int | None,
    places: Mapping[str, Value],
) -> Settings:
    """The first runs of a sample by seed, to be trained as they were; rows of seeds together.

    Args:
        sources: whose setting it is.
        sample: the recorded runs.
        runs: how many.
        max_epochs: if they shall be shorter; None: as long as recorded.
        places: ``data.root`` and ``data.mirror``, where they are given.

    Raises:
        ConfigError: so many runs or epochs are not recorded.
    """
    if runs > sample.runs:
        raise ConfigError(
            f"runs: must be at most {sample.runs}, as many as the cell has, got {runs}"
        )
    epochs = sample.max_epochs if max_epochs is None else max_epochs
    if epochs > sample.max_epochs:
        raise ConfigError(
            f"training.max_epochs: must be at most {sample.max_epochs}, which is recorded, got "
            f"{epochs}"
        )
    run = sample.trainings[0].run
    root, mirror = (
        Path(str(path)) if (path := places.get(f"data.{name}")) is not None else None
        for name in ("root", "mirror")
    )
    data = replace(run.data, root=root, mirror=mirror)
    settings = []
    for first, count in _rows(sample.replicas[:runs]):
        training = replace(run.training, seed=first, replicas=count, max_epochs=epochs)
        own = Sourced(sources[0], replace(run, training=training, data=data))
        settings.append((sources, own))
    return tuple(settings)


def _rows(replicas: Iterable[Replica]) -> Iterator[tuple[int, int]]:
    """Consecutive seeds: the first, and how many."""
    pairs = enumerate(each.seed for each in replicas)
    for _, group in itertools.groupby(pairs, key=lambda pair: pair[1] - pair[0]):
        row = [seed for _, seed in group]
        yield row[0], len(row)


def check_data(sample: Sample, settings: Settings, *, data: LoadedData) -> None:
    """Check that the data is that of the recorded runs.

    Raises:
        ConfigError: it is other data.
    """
    recorded = sample.trainings[0]
    for _, one in settings:
        own = data[one.run.task, one.run.data]
        if own.sha256 != recorded.data_sha256:
            raise ConfigError(
                f"data: the recorded runs were trained on {recorded.data_name} "
                f"{recorded.data_sha256}, and here is {own.name} {own.sha256}; give the same data, "
                "as by data.mirror"
            )


def repetitions(
    sample: Sample, settings: Settings, *, new: Iterable[RecordedRun]
) -> tuple[Repetition, ...]:
    """Each recorded run beside the one that was trained again.

    All comparisons together call a run different that is like the others in one of a hundred
    times. Runs that diverged are in no interval.

    Args:
        sample: the recorded runs.
        settings: by ``repeated_settings``.
        new: trainings; those of the settings among them are compared.
    """
    trained = sorted((run for run in new if run.ended), key=lambda run: run.run_id)
    whole = settings[0][1].run
    latest = {
        replica.seed: (run, replica)
        for run in trained
        if run.run.setting == whole.setting
        and run.run.training.max_epochs == whole.training.max_epochs
        and run.data_sha256 == sample.trainings[0].data_sha256
        for replica in run.replicas
    }
    seeds = [
        seed
        for _, one in settings
        for seed in range(one.run.training.seed, one.run.training.seed + one.run.training.replicas)
    ]
    epochs = whole.training.max_epochs
    return tuple(
        _repetition(sample, seed, epochs=epochs, after=latest.get(seed), comparisons=len(seeds))
        for seed in seeds
    )


def _repetition(
    sample: Sample,
    seed: int,
    *,
    epochs: int,
    after: tuple[RecordedRun, Replica] | None,
    comparisons: int,
) -> Repetition:
    (index,) = (i for i, each in enumerate(sample.replicas) if each.seed == seed)
    before, replica = sample.trainings[index], sample.replicas[index]
    measure = _measure(sample, epochs)
    recorded = _value(replica, sample, epochs=epochs)
    missing = Repetition(
        seed, before, None, 0, None, (), (), (), measure, recorded, math.nan, None, UNTRAINED
    )
    if after is None:
        return missing
    run, again = after
    parts_at = _parts_at(replica.curve[:epochs], again.curve[:epochs])
    names: tuple[str, ...] = ()
    if epochs == sample.max_epochs:
        names = tuple(sorted(set(replica.metrics) & set(again.metrics)))
    found = replace(
        missing,
        after=run,
        epochs=min(epochs, len(replica.curve), len(again.curve)),
        parts_at=parts_at,
        results=names,
        unequal=tuple(n for n in names if not _alike(replica.metrics[n], again.metrics[n])),
        differences=tuple(_differences(before, run)),
        new=_value(again, sample, epochs=epochs),
        outcome=EQUAL,
    )
    if parts_at is None and not found.unequal:
        return found
    others = [_value(each, sample, epochs=epochs) for each in sample.replicas if each.seed != seed]
    spread = _spread(
        found.recorded,
        found.new,
        others=others,
        run=sample.setting,
        confidence=1 - FALSE_ALARM / comparisons,
    )
    holds = spread.holds and bool(found.differences)
    return replace(found, spread=spread, outcome=WITHIN if holds else DIFFERS)


def _measure(sample: Sample, epochs: int) -> str:
    """Of whole runs their test result, of shorter ones the last of the validation split."""
    split = "test" if epochs == sample.max_epochs else "val"
    return f"{split}_{task_class(sample.setting.task).objective}"


def _value(replica: Replica, sample: Sample, *, epochs: int) -> float:
    """Of the measure; nan where the run has diverged."""
    if epochs == sample.max_epochs:
        value = replica.metrics.get(_measure(sample, epochs), math.nan)
        return math.nan if replica.diverged else value
    curve = replica.curve[:epochs]
    return curve[-1] if curve else math.nan


def _parts_at(before: Sequence[float], after: Sequence[float]) -> int | None:
    """The first epoch that is not the same in both.

    A run that is done by its rule goes on as long as one that it is fused with is not, so one of
    two equal runs may have fewer epochs than the other.
    """
    pairs = enumerate(zip(before, after, strict=False), start=1)
    return next((epoch for epoch, (one, other) in pairs if not _same(one, other)), None)


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _alike(one: float, other: float) -> bool:
    return _same(one, other) or math.isclose(one, other, rel_tol=10.0**-RESULT_DIGITS)


def _differences(
    before: RecordedRun, after: RecordedRun
) -> Iterator[tuple[str, str | None, str | None]]:
    """What decides the bits and is not the same in both, or not known to be."""
    for name in _DECIDES:
        old, new = before.computed_by.get(name), after.computed_by.get(name)
        if old is None or old != new:
            yield name, old, new
    widths = str(len(before.replicas)), str(len(after.replicas))
    if widths[0] != widths[1] and not (_trains_as_alone(before) and _trains_as_alone(after)):
        yield "fused width", *widths


def _trains_as_alone(run: RecordedRun) -> bool:
    """Whether each replica has the bits that it would have alone: natively, on one thread."""
    engine, threads = (run.computed_by.get(name, "") for name in ("engine", "threads"))
    return engine.startswith("native ") and threads == "1"


def _spread(
    recorded: float, new: float, *, others: list[float], run: RunSettings, confidence: float
) -> Spread:
    """Where a run may lie, by the others; next to its record where these are too few."""
    whole = [each for each in others if not math.isnan(each)]
    interval = foretold(whole, run=run, confidence=confidence)
    if math.isnan(new):
        holds = math.isnan(recorded) or len(whole) < len(others)
    elif interval is None:
        holds = near(recorded, new)
    else:
        holds = any(interval.reaches(new, each) for each in (interval.middle, recorded))
    return Spread(interval, len(whole), holds)
