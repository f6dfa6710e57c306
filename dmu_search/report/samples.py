"""The recorded runs of a task, under each published or found setting of each of its networks."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dmu_search.config.keys import SOURCES
from dmu_search.paper.published import Published, published
from dmu_search.report.named_settings import (
    SOURCE_NAMES,
    NamedSetting,
    lacking_lines,
    searches_needed,
    settings_of_task,
    unsearched,
)
from dmu_search.results.selection import Sample, Variant, sample_of, variants
from dmu_search.results.trainings import RecordedRun

LESS = "Runs x epochs: 3/5 x 100/500 is three where the paper has five, over 100 of its 500 epochs."

# Changes that a table has room to name.
_NAMED = 2

Samples = Mapping[tuple[str, int], Sample]


@dataclass(frozen=True)
class NetworkResults:
    """What is recorded of one network.

    Attributes:
        model: the recurrent network.
        depth: its layers.
        settings: published and found ones, each with its runs; None where there are none.
        variants: runs under other settings.
    """

    model: str
    depth: int
    settings: tuple[tuple[NamedSetting, Sample | None], ...]
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class TaskResults:
    """What is recorded of a task.

    Attributes:
        task: its name.
        record: what is published of it.
        networks: every published one, by depth.
        records: where the runs were read; None for those of the output folder.
    """

    task: str
    record: Published
    networks: tuple[NetworkResults, ...]
    records: Path | None = None

    @property
    def seen(self) -> str:
        """What a command is given that counts the runs that were read, after a blank."""
        return "" if self.records is None else f" records={shlex.quote(str(self.records))}"

    def samples(self, source: str) -> dict[tuple[str, int], Sample]:
        """The runs under the settings of ``source`` by (model, depth), where there are any."""
        return {
            (network.model, network.depth): sample
            for network in self.networks
            for named, sample in network.settings
            if source in named.sources and sample is not None
        }

    def those(self, fits: Callable[[Sample | None], bool]) -> dict[str, list[tuple[str, int]]]:
        """Source -> networks, (model, depth) each, the runs of whose setting fit."""
        found: dict[str, list[tuple[str, int]]] = {}
        for network in self.networks:
            for named, sample in network.settings:
                if fits(sample):
                    own = found.setdefault(named.sources[0], [])
                    own.append((network.model, network.depth))
        return found

    def falls_short(self, sample: Sample | None) -> bool:
        """Whether there are runs, but fewer than the paper's or over fewer epochs."""
        return sample is not None and (
            sample.runs < self.record.runs or sample.max_epochs < self.record.epochs
        )

    def searches_needed(self) -> list[str]:
        """What to type for the best settings that no search has looked for yet."""
        settings = {
            (network.model, network.depth): [named for named, _ in network.settings]
            for network in self.networks
        }
        return searches_needed(self.task, unsearched(settings))


def results_of(
    task: str,
    runs: Sequence[RecordedRun],
    *,
    sources: Sequence[str],
    output_dir: Path,
    records: Path | None = None,
) -> TaskResults:
    """Sort the runs of a task by network and setting; those on other data are left out.

    Raises:
        ConfigError: a file of the best settings is damaged.
    """
    record = published(task)
    own = [run for run in runs if run.run.task == task and record.data in (None, run.data_name)]
    found = settings_of_task(task, sources, output_dir=output_dir)
    # Figures count runs, so every curve is of as many; means gain by more of them.
    at_most = None if record.figure is None else record.runs
    return TaskResults(
        task,
        record,
        tuple(
            _network(model, depth, settings=settings, runs=own, at_most=at_most)
            for (model, depth), settings in found.items()
        ),
        records,
    )


def _network(
    model: str,
    depth: int,
    *,
    settings: tuple[NamedSetting, ...],
    runs: Sequence[RecordedRun],
    at_most: int | None,
) -> NetworkResults:
    samples = tuple(
        (each, sample_of(runs, each.setting, without_seeds=each.found.used_seeds, at_most=at_most))
        for each in settings
    )
    others = (
        variants(runs, [each.setting for each in settings], at_most=at_most) if settings else ()
    )
    return NetworkResults(model, depth, samples, others)


def runs_text(sample: Sample, record: Published) -> str:
    """Runs and epochs, ``5 x 500``; ``3/5 x 100/500`` where the paper has more of them."""
    runs = f"{sample.runs}/{record.runs}" if sample.runs < record.runs else f"{sample.runs}"
    less = sample.max_epochs < record.epochs
    epochs = f"{sample.max_epochs}/{record.epochs}" if less else f"{sample.max_epochs}"
    diverged = f", {sample.diverged} diverged" if sample.diverged else ""
    return f"{runs} x {epochs}{diverged}"


def variant_text(variant: Variant, network: NetworkResults) -> str:
    """A variant by what tells it from the nearest setting: ``paper's with z_bias=0``.

    That of another search differs in all that was searched, which ``changes_text`` names.
    """
    near = network.settings[variant.nearest][0].name
    if len(variant.changed) > _NAMED:
        return f"{near} with {len(variant.changed)} other values"
    return f"{near} with {changes_text(variant)}"


def changes_text(variant: Variant) -> str:
    """Every setting in which a variant differs from the nearest one."""
    changes = [
        f"{name.rpartition('.')[2]}={value:g}"
        if isinstance(value, float)
        else f"{name.rpartition('.')[2]}={value}"
        for name, value in variant.changed.items()
    ]
    return ", ".join(changes)


def runs_needed(results: TaskResults) -> list[str]:
    """What to type for the runs of a task that are missing or too few or short, per source."""
    missing = results.those(lambda sample: sample is None)
    short = results.those(results.falls_short)
    return [
        line
        for source in SOURCES
        for what, networks in (("runs", missing), ("more runs or epochs", short))
        for line in lacking_lines(
            results.task,
            networks.get(source, ()),
            what=f"{what} with {SOURCE_NAMES[source]} settings",
            command=f"reproduce source={source}{results.seen}",
        )
    ]
