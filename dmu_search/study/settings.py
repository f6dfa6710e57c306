"""From the words of a ``tune`` command to the studies it asks for."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

from dmu_search.config.compose import Composed
from dmu_search.config.distributions import Choice, Distribution, Interval
from dmu_search.config.grammar import Alternatives, Setting
from dmu_search.config.keys import KEYS, PUBLISHED, Value
from dmu_search.config.own_files import (
    IDENTITY,
    OwnFile,
    compose_with,
    files_for,
    identity_of,
    misplaced,
    placed,
    read_own,
)
from dmu_search.config.roots import default_choice
from dmu_search.config.settings import (
    ResourceSettings,
    RunSettings,
    SearchSettings,
    TrackingSettings,
    build,
)
from dmu_search.data.settings import DataSettings
from dmu_search.errors import ConfigError
from dmu_search.paper.published import Published, published
from dmu_search.paper.widths import resolve_widths
from dmu_search.study.prior import Guess, guesses_of, read_prior

_RUN_GROUPS = ("network.", "training.", "data.")
# No default would do for every task.
_OF_TASKS = ("training.learning_rate", "training.max_epochs")


@dataclass(frozen=True)
class WarmStart:
    """A published setting as a point of a study's space: tried first, never stopped early.

    Attributes:
        source: ``paper`` or ``released``; both, with a comma, where they agree.
        values: the searched keys that it sets, all within their distributions.
    """

    source: str
    values: Mapping[str, Value]


@dataclass(frozen=True)
class StudySettings:
    """One study, checked and complete.

    Attributes:
        task: what is learned.
        model: the recurrent network.
        depth: its layers.
        fixed: values of ``network.*``, ``training.*`` and ``data.*`` that all trials share.
        space: what is searched.
        warm_starts: the first trials.
        priors: guesses that the sampler begins near.
        notes: what a reader should know of how the settings came about.
        search: how to search.
        resources: what to use.
        tracking: where runs are logged.
        output_dir: folder of all results.
    """

    task: str
    model: str
    depth: int
    fixed: Mapping[str, Value]
    space: Mapping[str, Distribution]
    warm_starts: tuple[WarmStart, ...]
    priors: tuple[Guess, ...]
    notes: tuple[str, ...]
    search: SearchSettings
    resources: ResourceSettings
    tracking: TrackingSettings
    output_dir: Path

    @property
    def title(self) -> str:
        """Task, model and depth in a few characters, as in ``polymusic-dmu-d1``."""
        return f"{self.task}-{self.model}-d{self.depth}"

    @property
    def data(self) -> DataSettings:
        """Which data the study trains on."""
        return build(DataSettings, "data", values=self.fixed)

    @property
    def measured_on(self) -> Mapping[str, object]:
        """Task and data, wherever the files lie: results on the same compare."""
        data = {f"data.{name}": value for name, value in asdict(self.data).items()}
        kept = {n: v for n, v in data.items() if n not in ("data.root", "data.mirror")}
        return {"task": self.task, **kept}

    @property
    def replicas(self) -> int:
        """Seeds that a trial trains side by side."""
        return cast(int, self.fixed["training.replicas"])

    @property
    def max_epochs(self) -> int:
        """Epochs of a trial that is not stopped early."""
        return cast(int, self.fixed["training.max_epochs"])

    @property
    def grace_epochs(self) -> int:
        """Epochs before a trial may be stopped: given, or a hundredth of the whole."""
        return min(self.search.grace_epochs or max(1, self.max_epochs // 100), self.max_epochs)

    def run(self, values: Mapping[str, Value]) -> RunSettings:
        """The settings of the trial with these values of the space."""
        return RunSettings.from_values(
            self.task, self.model, depth=self.depth, values={**self.fixed, **values}
        )

    def example(self) -> RunSettings:
        """A trial at the first value of every distribution, for what does not depend on them."""
        return self.run({name: _bounds(d)[0] for name, d in self.space.items()})

    def heaviest(self) -> RunSettings:
        """The trial with the largest batches, which needs the most memory."""
        values = {name: _bounds(d)[0] for name, d in self.space.items()}
        if "training.batch_size" in self.space:
            values["training.batch_size"] = _bounds(self.space["training.batch_size"])[1]
        return self.run(values)


def _bounds(distribution: Distribution) -> tuple[Value, Value]:
    """The lowest and highest value; of words, the first and last."""
    if isinstance(distribution, Choice):
        numbers = [v for v in distribution.values if isinstance(v, int | float)]
        ordered: Sequence[Value] = sorted(numbers) if numbers else distribution.values
        return ordered[0], ordered[-1]
    if distribution.integer:
        return int(distribution.low), int(distribution.high)
    return distribution.low, distribution.high


def studies_of(given: Mapping[str, Setting | Alternatives]) -> tuple[StudySettings, ...]:
    """The studies that the overrides of ``tune`` ask for: one per task, model and depth.

    Args:
        given: parsed overrides, by key.

    Raises:
        ConfigError: every fault of the overrides and of the YAML behind them.
    """
    path = given.get("config")
    own: tuple[OwnFile, ...] = () if path is None else (read_own(Path(str(path))),)
    asked = {**identity_of(own), **given}
    tasks = alternatives(asked.get("task", default_choice("task")))
    models = alternatives(asked.get("model", default_choice("model")))
    depths = alternatives(asked.get("depth"))
    shared = {
        name: cast(Setting, setting)
        for name, setting in given.items()
        if name not in (*IDENTITY, "config", "config_dir")
    }
    faults = [
        f"{name}: {reason}"
        for name in shared
        if (reason := KEYS[name].misplaced(tasks, models)) is not None
    ]
    faults += [fault for file in own for fault in misplaced(file, tasks, models=models)]
    studies = []
    for task, model, depth in itertools.product(tasks, models, depths):
        files = own
        try:
            files = files_for(task, model, given=given)
            studies.append(
                _study(task, model, depth=cast(int | None, depth), given=shared, files=files)
            )
        except ConfigError as error:
            found = [placed(fault, files=files, given=shared) for fault in error.faults]
            faults += [fault for fault in found if fault not in faults]
    if faults:
        raise ConfigError(*faults)
    return tuple(studies)


def alternatives(setting: Setting | Alternatives) -> tuple[str, ...]:
    """The values of a comma list, or the one value."""
    values = setting.values if isinstance(setting, Alternatives) else (setting,)
    return cast(tuple[str, ...], values)


def _study(
    task: str,
    model: str,
    *,
    depth: int | None,
    given: Mapping[str, Setting],
    files: Sequence[OwnFile],
) -> StudySettings:
    own = {name: setting for name, setting in given.items() if KEYS[name].exists_for(task, model)}
    composed = compose_with(task, model, files=files, given=own)
    record = published(task)
    depth = depth or record.default_depth(model)
    fixed, space, notes = _split(composed)
    _check_complete(task, composed)
    widths, width_note = resolve_widths(task, model, depth=depth, rule=fixed["network.widths"])
    run_values = {k: v for k, v in fixed.items() if k.startswith(_RUN_GROUPS)}
    run_values["network.widths"] = widths
    search = build(SearchSettings, "search", values=fixed)
    search = replace(search, prior=read_prior(search.prior, space))
    points, point_notes = _published_points(record, model=model, depth=depth, space=space)
    tried_first = search.warm_start == "paper"
    warm_starts = points if tried_first else _from_text(search.warm_start)
    _check_budget(search, run_values)
    return StudySettings(
        task=task,
        model=model,
        depth=depth,
        fixed=run_values,
        space=space,
        warm_starts=warm_starts[: search.trials],
        priors=guesses_of(search.prior, tuple(point.values for point in points)),
        notes=(width_note, *notes, *(point_notes if tried_first else ())),
        search=search,
        resources=build(ResourceSettings, "resources", values=fixed),
        tracking=build(TrackingSettings, "tracking", values=fixed),
        output_dir=Path(str(fixed["output_dir"])),
    )


def _check_complete(task: str, composed: Composed) -> None:
    """That the task's YAML gives all that nothing else can know."""
    missing = [name for name in _OF_TASKS if name not in composed.settings]
    if missing:
        raise ConfigError(
            f"search_spaces/task/{task}.yaml: must give {' and '.join(missing)}, as a value or a "
            "distribution"
        )


def _split(
    composed: Composed,
) -> tuple[dict[str, Value], dict[str, Distribution], tuple[str, ...]]:
    """Fixed values and searched distributions, without what cannot matter."""
    fixed: dict[str, Value] = {}
    space: dict[str, Distribution] = {}
    for name, setting in composed.settings.items():
        if isinstance(setting, Interval | Choice):
            space[name] = setting
        else:
            fixed[name] = setting
    notes = []
    for name in list(space):
        condition = KEYS[name].only_if
        if condition is not None and not _can_hold(condition, fixed, space=space):
            del space[name]
            if composed.origins[name] == "command line":
                notes.append(f"{name} is not searched: it matters only with {'='.join(condition)}")
    return fixed, space, tuple(notes)


def _can_hold(
    condition: tuple[str, str], fixed: Mapping[str, Value], *, space: Mapping[str, Distribution]
) -> bool:
    name, needed = condition
    return needed in space[name] if name in space else fixed.get(name) == needed


def as_text(points: Sequence[WarmStart]) -> str:
    """Warm starts as ``search.warm_start`` keeps them."""
    return json.dumps([{"source": point.source, "values": dict(point.values)} for point in points])


def _from_text(text: str) -> tuple[WarmStart, ...]:
    """What ``search.warm_start`` holds besides words.

    Raises:
        ConfigError: it is neither a known word nor such a text.
    """
    if text == "none" or text.startswith("study:"):
        return ()
    try:
        return tuple(WarmStart(each["source"], each["values"]) for each in json.loads(text))
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"search.warm_start: must be paper, none or study:NAME, got {text!r}"
        ) from None


def _published_points(
    record: Published,
    *,
    model: str,
    depth: int,
    space: Mapping[str, Distribution],
) -> tuple[tuple[WarmStart, ...], tuple[str, ...]]:
    """The published settings as points of the space; fixed values of the command line win."""
    points: dict[tuple[tuple[str, Value], ...], WarmStart] = {}
    notes = []
    for source in PUBLISHED:
        settings = record.settings[source].get(model, {}).get(depth)
        if settings is None:
            continue
        values = {name: value for name, value in settings.items() if name in space}
        outside = [name for name, value in values.items() if value not in space[name]]
        if outside:
            notes.append(
                f"the {source} setting is not tried first: "
                + ", ".join(f"{name}={values[name]} is outside {space[name]}" for name in outside)
            )
            continue
        key = tuple(sorted(values.items()))
        if key in points:
            points[key] = replace(points[key], source=f"{points[key].source}, {source}")
        else:
            points[key] = WarmStart(source, values)
    if not points and not notes:
        notes.append(f"no published setting of {model} at depth {depth}: nothing is tried first")
    return tuple(points.values()), tuple(notes)


def _check_budget(search: SearchSettings, values: Mapping[str, Value]) -> None:
    epochs = cast(int, values["training.max_epochs"])
    if search.grace_epochs is not None and search.grace_epochs > epochs:
        raise ConfigError(
            f"search.grace_epochs: must be <= training.max_epochs={epochs}, "
            f"got {search.grace_epochs}; lower it"
        )
