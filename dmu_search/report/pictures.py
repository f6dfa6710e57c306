"""Figures as PNG by matplotlib, which ``charts`` shares with this module alone."""

import io
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter

from dmu_search.report.panels import GREY, Figure, Panel, Series

# Of every picture.
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#eeeeee",
    "legend.frameon": False,
}
_IN_A_ROW = 4


def picture(figure: Figure) -> bytes:
    """The figure as PNG."""
    columns = min(_IN_A_ROW, len(figure.panels))
    rows = -(-len(figure.panels) // columns)
    width, height = (8.5, 4.6) if columns == 1 else (3.2 * columns, 3.0 * rows)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(width, height), layout="constrained")
        axes = canvas.subplots(rows, columns, squeeze=False).flatten()
        for panel, own in zip(figure.panels, axes, strict=False):
            _draw(own, panel)
        for spare in axes[len(figure.panels) :]:
            spare.set_axis_off()
        canvas.suptitle(figure.title, fontsize=11)
        content = io.BytesIO()
        canvas.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()


def _draw(axes: Axes, panel: Panel) -> None:
    if panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if panel.log_y:
        axes.set_yscale("log")
    if panel.field is not None:
        field = panel.field
        shades = axes.contourf(field.x, field.y, field.z, levels=14, cmap="viridis")
        axes.figure.colorbar(shades, ax=axes)
    for series in panel.series:
        _add(axes, series)
    for number, (value, label) in enumerate(panel.levels):
        axes.axhline(value, color=GREY, linestyle="--", linewidth=1.2)
        axes.annotate(
            label,
            (0.99 - 0.3 * number, value),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
        )
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.x_ticks:
        positions, labels = zip(*panel.x_ticks, strict=True)
        axes.set_xticks(positions, labels, rotation=25 if len(labels) > 3 else 0, ha="right")
    if panel.y_ticks:
        positions, labels = zip(*panel.y_ticks, strict=True)
        axes.set_yticks(positions, labels)
    if any(series.in_legend for series in panel.series):
        axes.legend(fontsize=8)


def _add(axes: Axes, series: Series) -> None:
    style: dict[str, Any] = {"color": series.color, "alpha": series.opacity}
    if series.in_legend:
        style["label"] = series.label
    match series.kind:
        case "bars":
            axes.barh(series.x, series.y, height=0.38, **style)
        case "points":
            axes.scatter(series.x, series.y, s=series.width**2, linewidths=0, **style)
        case "line":
            marker = "o" if len(series.x) == 1 else None
            axes.plot(
                series.x, series.y, linewidth=series.width, marker=marker, markersize=3, **style
            )
