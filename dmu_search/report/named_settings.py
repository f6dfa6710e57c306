"""Whose settings a network has, equal ones told once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dmu_search.config.settings import RunSettings
from dmu_search.names import MODELS
from dmu_search.paper.published import published
from dmu_search.retraining.needs import settings_for
from dmu_search.retraining.sources import Sourced

SOURCE_NAMES = {"paper": "paper's", "released": "released", "best": "best found"}


@dataclass(frozen=True)
class NamedSetting:
    """A setting of a network, and whose it is.

    Attributes:
        sources: all that have it: ``paper``, ``released`` or ``best``.
        found: the setting, as the first of them has it.
    """

    sources: tuple[str, ...]
    found: Sourced

    @property
    def name(self) -> str:
        """As tables show it: ``paper's = released``."""
        return " = ".join(SOURCE_NAMES[source] for source in self.sources)

    @property
    def setting(self) -> RunSettings:
        """What is trained, whatever the seeds and epochs."""
        return self.found.run.setting


def settings_of(
    task: str, model: str, *, depth: int, sources: Sequence[str], output_dir: Path
) -> tuple[NamedSetting, ...]:
    """The settings of a network, in the order of ``sources``.

    Raises:
        ConfigError: a file of the best settings is damaged.
    """
    found = settings_for(
        [task], [model], depths=[depth], sources=sources, output_dir=output_dir, given={}
    )
    return tuple(NamedSetting(names, one) for names, one in found)


def settings_of_task(
    task: str, sources: Sequence[str], *, output_dir: Path
) -> dict[tuple[str, int], tuple[NamedSetting, ...]]:
    """The settings of every published (model, depth) of a task, by depth.

    Raises:
        ConfigError: a file of the best settings is damaged.
    """
    order = list(MODELS)
    networks = sorted(published(task).networks(), key=lambda pair: (pair[1], order.index(pair[0])))
    return {
        (model, depth): settings_of(
            task, model, depth=depth, sources=sources, output_dir=output_dir
        )
        for model, depth in networks
    }


def unsearched(
    settings: Mapping[tuple[str, int], Sequence[NamedSetting]],
) -> list[tuple[str, int]]:
    """The networks, (model, depth) each, without a best setting."""
    return [
        network
        for network, own in settings.items()
        if all("best" not in each.sources for each in own)
    ]


def searches_needed(task: str, networks: Sequence[tuple[str, int]]) -> list[str]:
    """What to type for the best settings of networks, (model, depth) each, that have none yet."""
    return lacking_lines(task, networks, what="best settings", command="tune")


def lacking_lines(
    task: str, networks: Sequence[tuple[str, int]], *, what: str, command: str
) -> list[str]:
    """What networks lack, and what to type for it, in a line per row of depths.

    Args:
        task: of the networks.
        networks: (model, depth) each.
        what: they lack.
        command: that gives it, with words of its own.
    """
    models: dict[str, list[str]] = {}
    for model in dict(networks):
        depths = ",".join(str(depth) for other, depth in networks if other == model)
        models.setdefault(depths, []).append(model)
    return [
        f"{what} of {task} {', '.join(names)} at depth {depths}: "
        f"`python -m dmu_search {command} task={task} model={','.join(names)} depth={depths}`"
        for depths, names in models.items()
    ]
