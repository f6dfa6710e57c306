"""What the paper's tables and figures are trained from: whose settings, for which networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dmu_search.config.compose import compose_study
from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.keys import KEYS, PUBLISHED, Value
from dmu_search.config.roots import configuration_root
from dmu_search.config.settings import RunSettings
from dmu_search.folders import OutputFolder
from dmu_search.names import TASKS
from dmu_search.paper.published import published
from dmu_search.paper.widths import resolve_widths
from dmu_search.retraining.comparison import why_not_better
from dmu_search.retraining.exported import RunFile, read_run_file
from dmu_search.retraining.slots import paper_slot, slot_of


@dataclass(frozen=True)
class Sourced:
    """A setting of the paper, of its authors' release, or the best that a search found.

    Attributes:
        source: ``paper``, ``released`` or ``best``.
        run: the setting with the paper's epochs and number of runs.
        used_seeds: seeds that the search trained with, and so chose by.
        file: that holds the setting; None for a published one.
    """

    source: str
    run: RunSettings
    used_seeds: range = range(0)
    file: Path | None = None


# Settings, each with all the sources that share it.
Settings = Sequence[tuple[tuple[str, ...], Sourced]]


def tasks_of(tables: Sequence[int], figures: Sequence[int]) -> tuple[str, ...]:
    """The tasks whose results these tables and figures show."""
    return tuple(
        task
        for task in TASKS
        if published(task).table in tables or published(task).figure in figures
    )


def sourced(
    source: str,
    task: str,
    *,
    model: str,
    depth: int,
    output_dir: Path,
    given: Mapping[str, Value] | None = None,
) -> Sourced | None:
    """The setting of ``source``; None where it has none for the network.

    Args:
        source: ``paper``, ``released`` or ``best``.
        task: what is learned.
        model: the recurrent network.
        depth: its layers.
        output_dir: whose best settings come before those shipped, unless worse.
        given: values that replace the source's own, where the task and model have them.

    Raises:
        ConfigError: a file of the best settings is damaged.
    """
    own_given = {k: v for k, v in (given or {}).items() if KEYS[k].exists_for(task, model)}
    defaults = fixed_defaults(task, model)
    record = published(task)
    shared: dict[str, Value] = {
        "training.max_epochs": record.epochs,
        "training.replicas": record.runs,
    }
    if source in PUBLISHED:
        own = record.settings[source].get(model, {}).get(depth)
        if own is None:
            return None
        values = {**defaults, **shared, **own, **own_given}
        widths, _ = resolve_widths(task, model, depth=depth, rule=values["network.widths"])
        values["network.widths"] = widths
        return Sourced(source, RunSettings.from_values(task, model, depth=depth, values=values))
    found = best_file(task, model, depth=depth, output_dir=output_dir)
    if found is None:
        return None
    path, file = found
    shared["training.seed"] = file.used_seeds.stop
    run = file.run({**shared, **own_given}, defaults)
    return Sourced(source, run, file.used_seeds, path)


@cache
def fixed_defaults(task: str, model: str) -> Mapping[str, Value]:
    """What the shipped space fixes for a task and a model, by dotted key."""
    composed = compose_study(task, model, given={}).settings
    return {k: value for k, value in composed.items() if not isinstance(value, Interval | Choice)}


def best_file(
    task: str, model: str, *, depth: int, output_dir: Path
) -> tuple[Path, RunFile] | None:
    """The best setting found on the paper's data: that of ``output_dir``, or the shipped one.

    That of ``output_dir`` comes first, unless the shipped one is better by ``why_not_better``. A
    file of an earlier version there, found on other data, does not count.

    Raises:
        ConfigError: a file of the best settings is damaged.
    """
    # The settings shipped lie as those of an output folder do.
    own, shipped = (
        _on_published_data(OutputFolder(root).best, task, model=model, depth=depth)
        for root in (output_dir, configuration_root())
    )
    if own and shipped and _is_better(shipped[1], own[1]):
        return shipped
    return own or shipped


def _on_published_data(
    best: Path, task: str, *, model: str, depth: int
) -> tuple[Path, RunFile] | None:
    path = paper_slot(best, task, model=model, depth=depth)
    if not path.exists():
        return None
    file = read_run_file(path)
    if file.result is not None and slot_of(best, file, result=file.result) != path:
        return None
    return path, file


def _is_better(new: RunFile, old: RunFile) -> bool:
    if new.result is None or old.result is None:
        return False
    return why_not_better(new.result, old.result, direction=TASKS[new.task].direction) is None
