"""Figures as data, for a picture and for a page alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes:
        label: what they are.
        x: positions.
        y: values; horizontal bars have their lengths here.
        kind: how they are drawn.
        color: of all of them.
        width: of a line, or size of a point.
        opacity: from 0 to 1.
        words: of each point, or one text for all, shown where a page is pointed at.
        in_legend: whether the legend has it.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    kind: Literal["line", "points", "bars"] = "line"
    color: str = BLUE
    width: float = 1.5
    opacity: float = 1.0
    words: str | Sequence[str] = ()
    in_legend: bool = False


@dataclass(frozen=True)
class Field:
    """Values over a plane, ``z[row][column]`` at ``y[row]`` and ``x[column]``."""

    x: Sequence[float]
    y: Sequence[float]
    z: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        x_label: below.
        y_label: beside.
        series: what is drawn, the last on top.
        log_x: whether the axis below is logarithmic.
        log_y: whether that beside is.
        x_ticks: position and label of each; the axis' own where empty.
        y_ticks: the same of the axis beside.
        levels: values, with labels, that a dashed line shows.
        field: coloured below all series.
    """

    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    x_ticks: Sequence[tuple[float, str]] = ()
    y_ticks: Sequence[tuple[float, str]] = ()
    levels: Sequence[tuple[float, str]] = ()
    field: Field | None = None


@dataclass(frozen=True)
class Figure:
    """Panels side by side.

    Attributes:
        name: of its files.
        title: what it shows.
        panels: from left to right.
    """

    name: str
    title: str
    panels: Sequence[Panel]
