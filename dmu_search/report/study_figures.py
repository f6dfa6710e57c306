"""The figures of a study: what was tried, what came of it, and what mattered."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from dmu_search.config.distributions import Choice, Distribution
from dmu_search.names import signed_loss
from dmu_search.report.panels import BLUE, GREEN, GREY, ORANGE, Field, Figure, Panel, Series
from dmu_search.study.stopping import Rungs, value_at
from dmu_search.study.trials import TrialState
from dmu_search.tracking.names import short_key, short_values

Levels = Sequence[tuple[float, str]]
Importances = Mapping[str, Mapping[str, float]]
# Points that all curves of a figure may have together, so that a page stays quick.
_POINTS = 60_000
# And all dots of a figure, each of which a browser draws by itself.
_DOTS = 8_000
_Item = TypeVar("_Item")
_GRID = 40


def figures(
    trials: Mapping[int, TrialState],
    *,
    space: Mapping[str, Distribution],
    metric: str,
    rungs: Rungs,
    winner: int | None,
    levels: Levels,
    importances: Importances,
) -> list[Figure]:
    """All figures that there is enough for, the most telling first.

    Args:
        trials: of the study, by number.
        space: what was searched.
        metric: name of the objective.
        rungs: of the study; their direction says which objective is good.
        winner: number of the trial that won; None before any finished.
        levels: objectives to compare with, and whose they are.
        importances: as ``study.importance`` gives them.
    """
    known = [trial for trial in trials.values() if trial.objectives and trial.objective is not None]
    if not known:
        return []
    wins = next((trial for trial in known if trial.number == winner), None)
    # The winner is drawn last, so on top.
    known = [trial for trial in known if trial is not wins] + ([wins] if wins else [])
    found = [
        _learning(known, metric=metric, winner=winner, levels=levels),
        _history(known, metric=metric, rungs=rungs, levels=levels),
    ]
    if importances:
        found.append(_importance(importances))
    tried = {n: each for n, each in space.items() if any(n in t.values for t in known)}
    ordered = _ordered(tried, importances)
    found.append(_slices(known, ordered, metric=metric, winner=winner))
    found.append(_parallel(known, ordered, metric=metric, winner=winner))
    plane = _contour(known, ordered, metric=metric)
    found += [plane] if plane else []
    found += [_rungs(known, metric=metric, rungs=rungs, winner=winner)] if rungs.epochs else []
    return found


def _ordered(
    space: Mapping[str, Distribution], importances: Importances
) -> dict[str, Distribution]:
    """The space, the keys that matter most first."""
    shares: Mapping[str, float] = next(iter(importances.values()), {})
    names = sorted(space, key=lambda name: -shares.get(name, -1.0))
    return {name: space[name] for name in names}


def _look(trial: TrialState, winner: int | None) -> tuple[str, float, float]:
    """Colour, width and opacity: the winner bold, what was stopped faded."""
    if trial.number == winner:
        return ORANGE, 3.0, 1.0
    return (BLUE, 1.4, 0.8) if trial.status == "finished" else (GREY, 1.0, 0.45)


def _words(trial: TrialState) -> str:
    source = f" ({trial.source})" if trial.source else ""
    return f"trial {trial.number}{source}: {trial.objective:.4g}<br>{short_values(trial.values)}"


def _line(trial: TrialState, points: Mapping[int, float], *, winner: int | None) -> Series:
    color, width, opacity = _look(trial, winner)
    return Series(
        f"trial {trial.number}",
        list(points),
        list(points.values()),
        "line",
        color,
        width,
        opacity,
        _words(trial),
    )


def _is_wide(values: Sequence[float]) -> bool:
    """Whether values ask for a logarithmic axis."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > 3 * min(finite)


def _thinned(items: Sequence[_Item], most: int) -> list[_Item]:
    """At most so many of the items, evenly, the last among them."""
    every = max(1, math.ceil(len(items) / max(2, most)))
    return [*items[:-1:every], items[-1]]


def _learning(
    known: Sequence[TrialState], *, metric: str, winner: int | None, levels: Levels
) -> Figure:
    curves = []
    for trial in known:
        epochs = _thinned(sorted(trial.objectives), _POINTS // len(known))
        values = {epoch: trial.objectives[epoch] for epoch in epochs}
        curves.append(_line(trial, values, winner=winner))
    wide = _is_wide([value for curve in curves for value in curve.y])
    longest = max(trial.epoch for trial in known)
    panel = Panel("epoch", f"best {metric} so far", curves, longest >= 30, wide, levels=levels)
    title = f"Learning curves of all {len(known)} trials: the winner bold, stopped ones faded"
    return Figure("learning_curves", title, (panel,))


def _history(known: Sequence[TrialState], *, metric: str, rungs: Rungs, levels: Levels) -> Figure:
    finished = sorted((t for t in known if t.status == "finished"), key=lambda t: t.number)
    others = [trial for trial in known if trial.status != "finished"]
    best: list[float] = []
    for trial in finished:
        value = trial.objective or 0.0
        better = not best or signed_loss(value, rungs.direction) < signed_loss(
            best[-1], rungs.direction
        )
        best.append(value if better else best[-1])
    panel = Panel(
        "trial",
        metric,
        (
            _points("not trained to the end", others, color=GREY, opacity=0.5),
            _points("finished", finished, color=BLUE),
            Series(
                "best so far", [t.number for t in finished], best, "line", ORANGE, in_legend=True
            ),
        ),
        log_y=_is_wide([trial.objective or 0.0 for trial in known]),
        levels=levels,
    )
    return Figure("history", "Optimisation history", (panel,))


def _points(
    label: str, trials: Sequence[TrialState], *, color: str, opacity: float = 0.9
) -> Series:
    return Series(
        label,
        [trial.number for trial in trials],
        [trial.objective or 0.0 for trial in trials],
        "points",
        color,
        6.0,
        opacity,
        [_words(trial) for trial in trials],
        in_legend=True,
    )


def _importance(importances: Importances) -> Figure:
    names = list(next(iter(importances.values())))[::-1]
    bars = [
        Series(
            estimate,
            [row + 0.4 * number - 0.2 for row in range(len(names))],
            [shares.get(name, 0.0) for name in names],
            "bars",
            (BLUE, GREEN)[number % 2],
            in_legend=True,
        )
        for number, (estimate, shares) in enumerate(importances.items())
    ]
    ticks = [(float(row), short_key(name)) for row, name in enumerate(names)]
    panel = Panel("share of what the objective varies by", "", bars, y_ticks=ticks)
    return Figure("importance", "What mattered: importance of the searched keys", (panel,))


def _place(value: object, distribution: Distribution) -> float:
    """A value as a position: numbers as they are, words by their place in the list."""
    if isinstance(distribution, Choice):
        return float(distribution.values.index(value)) if value in distribution.values else -1.0
    assert isinstance(value, int | float)
    return float(value)


def _ticks(distribution: Distribution) -> list[tuple[float, str]]:
    if not isinstance(distribution, Choice):
        return []
    return [(float(place), str(value)) for place, value in enumerate(distribution.values)]


def _is_log(distribution: Distribution) -> bool:
    return not isinstance(distribution, Choice) and bool(distribution.log)


def _slices(
    known: Sequence[TrialState],
    space: Mapping[str, Distribution],
    *,
    metric: str,
    winner: int | None,
) -> Figure:
    wide = _is_wide([trial.objective or 0.0 for trial in known])
    shown = _thinned(known, _DOTS // max(1, len(space)))
    panels = []
    for name, distribution in space.items():
        have = [trial for trial in shown if name in trial.values]
        series = []
        for look in dict.fromkeys(_look(trial, winner) for trial in have):
            alike = [trial for trial in have if _look(trial, winner) == look]
            series.append(
                Series(
                    name,
                    [_place(trial.values[name], distribution) for trial in alike],
                    [trial.objective or 0.0 for trial in alike],
                    "points",
                    look[0],
                    4.0 + look[1],
                    look[2],
                    [_words(trial) for trial in alike],
                )
            )
        ticks = _ticks(distribution)
        panels.append(Panel(name, metric, series, _is_log(distribution), wide, ticks))
    part = "" if len(shown) == len(known) else f", {len(shown)} of {len(known)} trials"
    return Figure("slice", f"Objective by each searched key{part}", panels)


def _unit(value: float, ends: tuple[float, float], *, log: bool) -> float:
    """Where between two ends a value lies, from 0 to 1."""
    low, high = ends
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return 0.5 if high <= low else (value - low) / (high - low)


def _range(distribution: Distribution) -> tuple[float, float]:
    if isinstance(distribution, Choice):
        return 0.0, float(max(1, len(distribution.values) - 1))
    return float(distribution.low), float(distribution.high)


def _at(value: object, distribution: Distribution) -> float:
    """Where in its distribution a value lies, from 0 to 1."""
    return _unit(_place(value, distribution), _range(distribution), log=_is_log(distribution))


def _parallel(
    known: Sequence[TrialState],
    space: Mapping[str, Distribution],
    *,
    metric: str,
    winner: int | None,
) -> Figure:
    results = [trial.objective or 0.0 for trial in known]
    low, high = min(results), max(results)
    log = _is_wide(results)
    lines = []
    for trial in known:
        # A line passes over the keys that do not apply to its trial.
        places = {
            place: _at(trial.values[name], distribution)
            for place, (name, distribution) in enumerate(space.items())
            if name in trial.values
        }
        places[len(space)] = _unit(trial.objective or 0.0, (low, high), log=log)
        lines.append(_line(trial, places, winner=winner))
    ticks = [
        (float(place), f"{short_key(name)} {_ends(distribution)}")
        for place, (name, distribution) in enumerate(space.items())
    ]
    ticks.append((float(len(space)), f"{metric} {low:.3g} to {high:.3g}"))
    panel = Panel("", "from low to high", lines, x_ticks=ticks, y_ticks=((0, "low"), (1, "high")))
    return Figure("parallel_coordinates", "Settings of all trials, side by side", (panel,))


def _ends(distribution: Distribution) -> str:
    if isinstance(distribution, Choice):
        return f"{distribution.values[0]} to {distribution.values[-1]}"
    return f"{distribution.low:.3g} to {distribution.high:.3g}"


def _contour(
    known: Sequence[TrialState], space: Mapping[str, Distribution], *, metric: str
) -> Figure | None:
    """The two keys that matter most; None where there are none, or too few trials have both."""
    numbers = [name for name, each in space.items() if not isinstance(each, Choice)][:2]
    if len(numbers) < 2:
        return None
    first, second = numbers
    have = [trial for trial in known if first in trial.values and second in trial.values]
    if len(have) < 4:
        return None
    results = np.array([trial.objective or 0.0 for trial in have])
    log = _is_wide(list(results))
    places = np.array(
        [[_at(trial.values[name], space[name]) for name in numbers] for trial in have]
    )
    line = np.linspace(0, 1, _GRID)
    # (row, column, trial): how far each point of the grid is from each trial.
    columns = (line[None, :, None] - places[None, None, :, 0]) ** 2
    distances = columns + (line[:, None, None] - places[None, None, :, 1]) ** 2
    weights = 1.0 / (distances + 1e-3) ** 2
    z = (weights * (np.log10(results) if log else results)).sum(-1) / weights.sum(-1)
    x, y = (_positions(space[name], line) for name in numbers)
    dots = Series(
        "trials",
        [_place(trial.values[first], space[first]) for trial in have],
        [_place(trial.values[second], space[second]) for trial in have],
        "points",
        "#000000",
        5.0,
        0.8,
        [_words(trial) for trial in have],
    )
    panel = Panel(
        first,
        second,
        (dots,),
        _is_log(space[first]),
        _is_log(space[second]),
        field=Field(x, y, z.tolist()),
    )
    shown = f"log10 of {metric}" if log else metric
    title = f"{shown} over the two numbers that mattered most, between the trials' own"
    return Figure("contour", title, (panel,))


def _positions(distribution: Distribution, line: np.ndarray) -> list[float]:
    low, high = _range(distribution)
    if _is_log(distribution):
        return [float(each) for each in np.exp(math.log(low) + line * math.log(high / low))]
    return [float(each) for each in low + line * (high - low)]


def _rungs(known: Sequence[TrialState], *, metric: str, rungs: Rungs, winner: int | None) -> Figure:
    """Each trial at each rung that it reached."""
    longest = max(trial.epoch for trial in known)
    epochs = sorted({*rungs.epochs, longest})
    series = []
    for trial in known:
        values = {epoch: value_at(trial, epoch) for epoch in epochs}
        there = {e: v for e, v in values.items() if v is not None and math.isfinite(v)}
        if there:
            series.append(_line(trial, there, winner=winner))
    wide = _is_wide([value for each in series for value in each.y])
    counts = [(float(e), f"{e}: {sum(e in each.x for each in series)} trials") for e in epochs]
    panel = Panel("epoch of the rung", metric, series, True, wide, counts)
    return Figure("rungs", "Who went on from which rung", (panel,))
