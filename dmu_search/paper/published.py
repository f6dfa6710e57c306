"""The published record of a task: the paper's networks, settings and results, as data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from dmu_search.config.compose import plain_tree, with_shared
from dmu_search.config.keys import KEYS, PUBLISHED, Value
from dmu_search.config.roots import configuration_root

# The paper's number of runs on data, taken for tasks that it does not have.
_RUNS = 5
# Of every published setting: the release clips no gradient, and the paper speaks of none.
_ALWAYS = {"training.gradient_clipping": "off"}


@dataclass(frozen=True)
class Aggregate:
    """A cell of a table: best, mean and standard deviation over the paper's runs."""

    best: float
    mean: float
    std: float


@dataclass(frozen=True)
class Matched:
    """The paper's network whose weight count the others match.

    Attributes:
        model: the recurrent network.
        widths: one per layer, or one alone for every layer of any depth.
    """

    model: str
    widths: tuple[int, ...]

    def at(self, depth: int) -> tuple[int, ...]:
        """Widths of the network that networks of ``depth`` match."""
        return self.widths * depth if len(self.widths) == 1 else self.widths


@dataclass(frozen=True)
class Check:
    """One comparison that a claim of the paper stands or falls with.

    Attributes:
        kind: a key of ``TABLE_CHECKS`` or ``FIGURE_CHECKS``.
        model: of which it is said.
        than: the models it is compared with.
        at: depths of a table or thresholds of a figure; empty for all.
        measures: of a table: ``test`` and ``train`` for means, ``test_spread`` and
            ``train_spread`` for how much runs scatter.
    """

    kind: str
    model: str
    than: tuple[str, ...]
    at: tuple[float, ...]
    measures: tuple[str, ...] = ("test",)


@dataclass(frozen=True)
class Margin:
    """A difference that is taken for none, fixed before the tests that use it.

    Attributes:
        value: of results, or of shares of runs.
        words: what it is, and why so much.
    """

    value: float
    words: str


TABLE_CHECKS = {
    "better": "better results, or less scattered ones, than another model's at some depths",
    "best_depth": "its best results at these depths",
}
FIGURE_CHECKS = {
    "better": "runs that reach a threshold sooner, or more often, than another model's",
    "similar": "about as many runs that reach a threshold as another model has",
    "never": "no run that reaches a threshold",
    "partly": "some runs that reach a threshold, and some that do not",
}


@dataclass(frozen=True)
class Claim:
    """What the paper says about the results of a task.

    Attributes:
        quote: its words.
        checks: all of which have to hold.
    """

    quote: str
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Published:
    """What paper and release say about one task; without arguments, that they do not have it.

    Attributes:
        table: the paper's table of its results; None where it has a figure.
        figure: the paper's figure of its results; None where it has a table.
        thresholds: the losses that the figure counts runs below, descending.
        depths: the depths that the paper uses, shallowest first.
        runs: runs that its results are over, or a training of a task that it does not have.
        epochs: most epochs of a run.
        matched_to: what other networks match; None for a task that it does not have.
        vocabulary: words of source and target that ``weights`` count; None for other tasks.
        widths: source -> model -> depth -> widths, one per layer.
        weights: model -> depth -> weight count, as the paper prints it.
        weights_of: what those count: ``network``, or the recurrent ``block`` alone.
        settings: source -> model -> depth -> key -> value.
        printed: the keys that the paper's table of settings has; it leaves out the others.
        data: name of the data that the results are on; None where there are none.
        results: model -> depth -> split -> aggregate; empty where the paper has curves only.
        claims: about the results.
        margin: within which two results are alike; None without claims.
    """

    table: int | None = None
    figure: int | None = None
    thresholds: tuple[float, ...] = ()
    depths: tuple[int, ...] = (1,)
    runs: int = _RUNS
    epochs: int = 0
    matched_to: Matched | None = None
    vocabulary: tuple[int, int] | None = None
    widths: Mapping[str, Mapping[str, Mapping[int, tuple[int, ...]]]] = field(default_factory=dict)
    weights: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    weights_of: str = "network"
    settings: Mapping[str, Mapping[str, Mapping[int, Mapping[str, Value]]]] = field(
        default_factory=lambda: {source: {} for source in PUBLISHED}
    )
    printed: tuple[str, ...] = ()
    data: str | None = None
    results: Mapping[str, Mapping[int, Mapping[str, Aggregate]]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    margin: Margin | None = None

    @property
    def in_paper(self) -> bool:
        """Whether the paper has the task at all."""
        return self.matched_to is not None

    @property
    def place(self) -> str:
        """Where its results stand: ``table-3``, ``figure-2``."""
        return f"figure-{self.figure}" if self.table is None else f"table-{self.table}"

    def networks(self) -> tuple[tuple[str, int], ...]:
        """Every model and depth that paper or release have, as (model, depth)."""
        pairs = {
            (model, depth): None
            for source in (*self.widths.values(), *self.settings.values())
            for model, depths in source.items()
            for depth in depths
        }
        return tuple(pairs)

    def default_depth(self, model: str) -> int:
        """The shallowest depth published for ``model``; the paper's own for other models."""
        depths = [depth for models in self.widths.values() for depth in models.get(model, ())]
        return min(depths, default=self.depths[0])


@cache
def published(task: str) -> Published:
    """The published record of ``task``: ``search_spaces/paper/<task>.yaml``, empty without it."""
    path = configuration_root() / "paper" / f"{task}.yaml"
    if not path.is_file():
        return Published()
    files = with_shared(path)
    tree = plain_tree(*files.values())
    words = tree.get("vocabulary")
    kinds = FIGURE_CHECKS if "figure" in tree else TABLE_CHECKS
    return Published(
        table=tree.get("table"),
        figure=tree.get("figure"),
        thresholds=tuple(tree.get("thresholds", ())),
        depths=tuple(tree["depths"]),
        runs=tree["runs"],
        epochs=tree["epochs"],
        matched_to=Matched(tree["matched_to"]["model"], tuple(tree["matched_to"]["widths"])),
        vocabulary=(words["source"], words["target"]) if words else None,
        widths={
            source: {
                model: {depth: tuple(widths) for depth, widths in depths.items()}
                for model, depths in models.items()
            }
            for source, models in tree["widths"].items()
        },
        weights={
            model: {depth: str(count) for depth, count in depths.items()}
            for model, depths in tree.get("weights", {}).items()
        },
        weights_of=tree.get("weights_of", "network"),
        settings={
            source: {model: _settings(depths) for model, depths in tree["settings"][source].items()}
            for source in PUBLISHED
        },
        printed=tuple(tree.get("printed", ())),
        data=tree.get("data"),
        results={
            model: {
                depth: {split: Aggregate(**cell) for split, cell in splits.items()}
                for depth, splits in depths.items()
            }
            for model, depths in tree.get("results", {}).items()
        },
        claims=tuple(
            Claim(each["quote"], tuple(_check(check, kinds) for check in each["checks"]))
            for each in tree.get("claims", ())
        ),
        margin=Margin(**tree["margin"]) if "margin" in tree else None,
    )


def _check(tree: Mapping[str, Any], kinds: Iterable[str]) -> Check:
    (kind,) = set(tree) & set(kinds)
    return Check(
        kind,
        tree[kind],
        tuple(tree.get("than", ())),
        tuple(tree.get("at", ())),
        tuple(tree.get("measures", ("test",))),
    )


def _settings(depths: dict[Any, dict[str, Any]]) -> dict[int, dict[str, Value]]:
    shared = depths["all"]
    return {
        depth: {
            name: KEYS[name].check(value) for name, value in {**_ALWAYS, **shared, **own}.items()
        }
        for depth, own in depths.items()
        if depth != "all"
    }
