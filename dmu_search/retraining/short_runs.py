"""Short trainings of recorded settings, and whether they agree with the recorded ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dmu_search.config.settings import RunSettings
from dmu_search.data.loading import LoadedData
from dmu_search.errors import ConfigError
from dmu_search.results.trainings import RecordedRun
from dmu_search.retraining.agreement import agreement, worst_if_diverged
from dmu_search.retraining.sources import Settings, Sourced

# Seeds that nothing else uses.
FIRST_SEED = 100_000
# A training is short if it takes about so long and no more epochs than these.
_SECONDS, _EPOCHS = 60.0, 5
# Trainings of settings that many seeds are recorded of; of the others there is one.
_MANY, _REPLICAS = 10, 8


@dataclass(frozen=True)
class Comparison:
    """New trainings of a setting beside the recorded ones, after as many epochs.

    Attributes:
        run: what was trained anew.
        sources: whose setting it is.
        recorded: validation objective of each recorded seed after those epochs.
        new: that of each new one; empty while they are not trained.
        chance: that new ones are so far from the recorded ones or further, were all alike; None
            where one training is recorded, whose scatter is unknown.
        agrees: whether they may be alike.
    """

    run: RunSettings
    sources: tuple[str, ...]
    recorded: tuple[float, ...]
    new: tuple[float, ...]
    chance: float | None
    agrees: bool


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
        same = _same(one.run, _not_short(recorded), data=data)
        if not same:
            continue
        epochs = min(_EPOCHS, max(1, int(_SECONDS / _seconds_per_epoch(same))))
        epochs = min(epochs, *(run.epochs for run in same))
        seeds = len({replica.seed for run in same for replica in run.replicas})
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

    All comparisons together raise a false alarm in one of a hundred times. Seeds that diverged
    count as infinitely bad.

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
            before=_same(one.run, _not_short(recorded), data=data),
            after=_same(one.run, trained, data=data),
            comparisons=len(short),
        )
        for names, one in short
    )


def _compared(
    run: RunSettings,
    sources: tuple[str, ...],
    *,
    before: Sequence[RecordedRun],
    after: Sequence[RecordedRun],
    comparisons: int,
) -> Comparison:
    epoch = run.training.max_epochs
    values = _after(epoch, before)
    new = _after(epoch, [each for each in after if _is_piece(each.run, run)])
    found = agreement(values, new, run=run, comparisons=comparisons)
    return Comparison(run, sources, values, new, found.chance, found.agrees)


def _is_piece(run: RunSettings, short: RunSettings) -> bool:
    """Whether a training is the short one, or has some of its seeds."""
    training = run.training
    return training.max_epochs == short.training.max_epochs and training.seed >= FIRST_SEED


def _not_short(runs: Iterable[RecordedRun]) -> list[RecordedRun]:
    return [each for each in runs if each.run.training.seed < FIRST_SEED]


def _after(epoch: int, runs: Iterable[RecordedRun]) -> tuple[float, ...]:
    """The validation objective of each seed after an epoch."""
    seeds = {
        replica.seed: worst_if_diverged(run.run, replica.curve[epoch - 1])
        for run in runs
        for replica in run.replicas
        if len(replica.curve) >= epoch
    }
    return tuple(seeds.values())


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
