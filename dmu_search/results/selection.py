"""Which recorded runs a cell of a table is made of."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dmu_search.config.keys import Value
from dmu_search.config.settings import RunSettings
from dmu_search.engine.tasks import task_class
from dmu_search.results.trainings import RecordedRun, Replica

# The paper's loss is "averaged over all time steps in the dataset/batch". Tables show the mean over
# all steps, which is the objective, and beside it the mean over batches, as the release has it.
MAIN, OTHER = "", "_batch_mean"

# Settings that say which data, not how to learn from it: results on other data are never compared.
_OTHER_DATA = ("data.corpus", "data.limit")


@dataclass(frozen=True)
class Sample:
    """Runs of one setting over one budget, one replica per seed.

    Attributes:
        setting: of all of them.
        max_epochs: the budget.
        data_name: what they were trained on.
        replicas: the runs, by seed.
        trainings: that each of them is from, in the same order.
    """

    setting: RunSettings
    max_epochs: int
    data_name: str
    replicas: tuple[Replica, ...]
    trainings: tuple[RecordedRun, ...]

    @property
    def runs(self) -> int:
        """How many, those that diverged included."""
        return len(self.replicas)

    @property
    def diverged(self) -> int:
        """How many diverged; they are in no mean."""
        return sum(replica.diverged for replica in self.replicas)

    def values(self, metric: str) -> tuple[float, ...]:
        """``metric`` of every run that did not diverge, by seed; empty if none has it."""
        kept = [each for each in self.replicas if not each.diverged]
        values = [each.metrics.get(metric, math.nan) for each in kept]
        return tuple(value for value in values if not math.isnan(value))

    def objective(self, split: str, average: str = MAIN) -> tuple[float, ...]:
        """The task's objective on ``train``, ``val`` or ``test``, at the best epoch."""
        return self.values(f"{split}_{task_class(self.setting.task).objective}{average}")

    def epochs_to(self, threshold: float) -> tuple[float, ...]:
        """First epoch with a validation objective below ``threshold``, by seed; inf if none."""
        return tuple(first_below(each.curve, threshold) for each in self.replicas)


def first_below(curve: Sequence[float], threshold: float) -> float:
    """First epoch, from 1, with a value below ``threshold``; inf if there is none."""
    below = (epoch for epoch, value in enumerate(curve, start=1) if value < threshold)
    return next(below, math.inf)


def sample_of(
    runs: Iterable[RecordedRun],
    setting: RunSettings,
    *,
    without_seeds: Collection[int] = (),
    at_most: int | None = None,
) -> Sample | None:
    """The runs of ``setting`` over the largest budget recorded; None if there are none.

    Only runs that ended count, and each seed once.

    Args:
        runs: any; those of other settings are left out.
        setting: as ``RunSettings.setting`` gives it.
        without_seeds: those that a search chose the setting by.
        at_most: how many runs, the first by seed, where counts are compared; None for all.
    """
    budgets: dict[tuple[int, str], list[RecordedRun]] = {}
    for run in runs:
        if run.ended and run.run.setting == setting:
            # The same file name may hold other data on another day; those are never mixed.
            key = run.run.training.max_epochs, run.data_sha256
            budgets.setdefault(key, []).append(run)
    found = []
    for (epochs, _), own in budgets.items():
        pairs = _by_seed(own, without_seeds)[:at_most]
        replicas, trainings = tuple(each for each, _ in pairs), tuple(run for _, run in pairs)
        found.append(Sample(setting, epochs, own[0].data_name, replicas, trainings))
    kept = [sample for sample in found if sample.replicas]
    return max(kept, key=lambda sample: (sample.max_epochs, sample.runs), default=None)


def _by_seed(
    runs: Iterable[RecordedRun], without: Collection[int]
) -> list[tuple[Replica, RecordedRun]]:
    """One replica per seed, that of the earliest run by id, with this run."""
    seeds: dict[int, tuple[Replica, RecordedRun]] = {}
    for run in sorted(runs, key=lambda run: run.run_id):
        for replica in run.replicas:
            if replica.seed not in without:
                seeds.setdefault(replica.seed, (replica, run))
    return [seeds[seed] for seed in sorted(seeds)]


@dataclass(frozen=True)
class Variant:
    """Runs of a setting that is near a published or found one.

    Attributes:
        sample: the runs.
        nearest: index of the setting that differs least.
        changed: where it differs: key -> the runs' value.
    """

    sample: Sample
    nearest: int
    changed: Mapping[str, Value]


def variants(
    runs: Iterable[RecordedRun], settings: Sequence[RunSettings], *, at_most: int | None = None
) -> tuple[Variant, ...]:
    """What was recorded of a network under none of ``settings``, on the same data.

    Args:
        runs: any; those of other networks are left out.
        settings: of one network, at least one.
        at_most: as in ``sample_of``.
    """
    found = {run.run.setting: None for run in runs if run.ended}
    network = _network(settings[0])
    others = [each for each in found if each not in settings and _network(each) == network]
    kept = []
    for setting in others:
        changes = [_changed(setting, near) for near in settings]
        nearest = min(range(len(settings)), key=lambda index: len(changes[index]))
        sample = sample_of(runs, setting, at_most=at_most)
        if sample is not None and not set(_OTHER_DATA) & set(changes[nearest]):
            kept.append(Variant(sample, nearest, changes[nearest]))
    return tuple(
        sorted(kept, key=lambda each: (each.nearest, sorted(each.changed.items(), key=str)))
    )


def _network(setting: RunSettings) -> tuple[str, str, int]:
    return setting.task, setting.model, setting.depth


def _changed(setting: RunSettings, near: RunSettings) -> dict[str, Value]:
    others = near.values()
    return {name: value for name, value in setting.values().items() if others[name] != value}
