"""Figures by matplotlib, one panel per threshold; readable in grey and by colour-blind eyes."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dmu_search.names import MODELS
from dmu_search.report.document import Chart

FORMATS = ("svg", "png", "pdf")
# Panels beside each other where there is room, and on a phone.
WIDE, NARROW = 3, 1
_PANEL_INCHES = 3.3, 2.6
_MARKS = 6


_Style = str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class _Line:
    """How the curve of a model looks."""

    color: str
    style: _Style
    marker: str


# In the order of `MODELS`; colours are Okabe and Ito's. The lengths have no common divisor, so that
# no two of 280 models look alike.
_COLORS = ("#D55E00", "#0072B2", "#CC79A7", "#009E73", "#000000", "#E69F00", "#56B4E9", "#F0E442")
_STYLES: tuple[_Style, ...] = (
    "-",
    (0, (6, 2)),
    (0, (3, 1.5)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (1, 1.5)),
)
_MARKERS = ("o", "s", "D", "^", "x", "v", "P")

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,
    # Text stays text, and equal figures are equal files.
    "svg.fonttype": "none",
    "svg.hashsalt": "dmu_search",
}
# No date, for the same reason.
_METADATA: Mapping[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def draw(chart: Chart, form: str, *, columns: int = WIDE) -> bytes:
    """The figure as a file.

    Args:
        chart: what to draw.
        form: one of ``FORMATS``.
        columns: panels beside each other; the legend takes the place of one more.
    """
    cells = len(chart.thresholds) + 1
    rows = math.ceil(cells / columns)
    width, height = _PANEL_INCHES
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for panel, threshold in zip(axes, chart.thresholds, strict=False):
            _draw_panel(panel, chart, threshold=threshold)
        for spare in axes[len(chart.thresholds) :]:
            spare.set_axis_off()
        handles, labels = axes[0].get_legend_handles_labels()
        axes[len(chart.thresholds)].legend(
            handles, labels, loc="center", handlelength=4, fontsize=10
        )
        content = io.BytesIO()
        figure.savefig(content, format=form, dpi=160, metadata=_METADATA[form])
    return content.getvalue()


def _line_of(model: str) -> _Line:
    row = list(MODELS).index(model)
    return _Line(
        _COLORS[row % len(_COLORS)], _STYLES[row % len(_STYLES)], _MARKERS[row % len(_MARKERS)]
    )


def _draw_panel(panel: Axes, chart: Chart, *, threshold: float) -> None:
    for index, series in enumerate(chart.series):
        reached = series.reached[threshold]
        line = _line_of(series.model)
        every = max(1, len(reached) // _MARKS)
        panel.plot(
            range(len(reached)),
            reached,
            drawstyle="steps-post",
            color=line.color,
            linestyle=line.style,
            marker=line.marker,
            # Shifted against each other, so that no mark hides another on curves that coincide.
            markevery=(index * every // max(1, len(chart.series)), every),
            label=series.label,
        )
    panel.set_title(f"validation loss < {_power(threshold)}", fontsize=9)
    panel.set_xlabel("epoch")
    panel.set_ylabel(f"runs, of {chart.runs}")
    panel.set_ylim(-0.02 * chart.runs, 1.04 * chart.runs)
    panel.set_xlim(left=0)


def _power(threshold: float) -> str:
    exponent = math.log10(threshold)
    return f"$10^{{{round(exponent)}}}$" if exponent == round(exponent) else f"{threshold:g}"
