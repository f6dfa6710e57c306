"""The published record of a task: the paper's networks, settings and results, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from dmu_search.config.compose import read_yaml
from dmu_search.config.keys import KEYS, Value
from dmu_search.config.roots import configuration_root

SOURCES = ("paper", "released")


@dataclass(frozen=True)
class Aggregate:
    """A cell of a table: best, mean and standard deviation over the paper's runs."""

    best: float
    mean: float
    std: float


@dataclass(frozen=True)
class Published:
    """What paper and release say about one task.

    Attributes:
        depths: the depths that the paper uses, shallowest first.
        matched_width: width of the RHN whose weight count the other networks match.
        widths: model -> depth -> widths, one per layer.
        settings: source -> model -> depth -> key -> value.
        results: model -> depth -> split -> aggregate.
    """

    depths: tuple[int, ...]
    matched_width: int
    widths: Mapping[str, Mapping[int, tuple[int, ...]]]
    settings: Mapping[str, Mapping[str, Mapping[int, Mapping[str, Value]]]]
    results: Mapping[str, Mapping[int, Mapping[str, Aggregate]]]


@cache
def published(task: str) -> Published:
    """The published record of ``task`` (``search_spaces/paper/<task>.yaml``)."""
    tree: Any = OmegaConf.to_container(
        read_yaml(configuration_root() / "paper" / f"{task}.yaml"), resolve=True
    )
    return Published(
        depths=tuple(tree["depths"]),
        matched_width=tree["matched_to"]["width"],
        widths={
            model: {depth: tuple(widths) for depth, widths in depths.items()}
            for model, depths in tree["widths"].items()
        },
        settings={
            source: {model: _settings(depths) for model, depths in tree["settings"][source].items()}
            for source in SOURCES
        },
        results={
            model: {
                depth: {split: Aggregate(**cell) for split, cell in splits.items()}
                for depth, splits in depths.items()
            }
            for model, depths in tree["results"].items()
        },
    )


def _settings(depths: dict[Any, dict[str, Any]]) -> dict[int, dict[str, Value]]:
    shared = depths["all"]
    return {
        depth: {name: KEYS[name].check(value) for name, value in {**shared, **own}.items()}
        for depth, own in depths.items()
        if depth != "all"
    }
