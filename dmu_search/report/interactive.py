"""Figures as pages by plotly that open without a server or a network."""

import base64
import gzip
import html
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from plotly.offline import get_plotlyjs

from dmu_search.report.panels import GREY, Figure, Panel, Series

_IN_A_ROW = 4
# Size of a curve that has one point.
_DOT = 5.0
# The library is unpacked by the browser: a third of its size.
_LOAD = """
const packed = Uint8Array.from(atob(library), (letter) => letter.charCodeAt(0));
new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text()
  .then((source) => {
    const script = document.createElement("script");
    script.textContent = source;
    document.head.appendChild(script);
    const {texts, figures} = JSON.parse(document.getElementById("figures").textContent);
    for (const [name, figure] of Object.entries(figures)) {
      for (const trace of figure.data)
        trace.text = trace.text?.map((place) => texts[place]);
      Plotly.newPlot(name, figure.data, figure.layout, {responsive: true, displaylogo: false});
    }
  });
"""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem;
  color: #222 } table { border-collapse: collapse; font-size: 13px } th, td { padding: 3px 10px;
  border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap } tr:hover { background:
  #f5f5f5 } .wide { overflow-x: auto; max-height: 36rem } h1 { font-size: 1.5rem } h2 { font-size:
  1.15rem; margin-top: 2rem } th { position: sticky; top: 0; background: white }
"""


def page_of(
    title: str, body: str, *, figures: Sequence[Figure], library_file: str | None = None
) -> str:
    """A whole page.

    Args:
        title: of the page.
        body: HTML before the figures, whose texts are escaped.
        figures: in order.
        library_file: that holds ``library()``, beside the page; None: the page holds it itself.
    """
    texts: dict[str, int] = {}
    drawn = {
        figure.name: {"data": _data(figure, texts), "layout": _layout(figure)} for figure in figures
    }
    places = "".join(
        f'<h2>{html.escape(figure.title)}</h2><div id="{figure.name}"></div>' for figure in figures
    )
    content = json.dumps(
        {"texts": list(texts), "figures": drawn}, allow_nan=False, separators=(",", ":")
    ).replace("<", "\\u003c")
    script = f"<script>{library()}</script>"
    if library_file is not None:
        script = f'<script src="{html.escape(library_file)}"></script>'
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style>{body}{places}{script}"
        f'<script id="figures" type="application/json">{content}</script>'
        f"<script>{_LOAD}</script></html>"
    )


@cache
def library() -> str:
    """Code of plotly, packed, as a script."""
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
    return f'const library = "{packed}";'


def _data(figure: Figure, texts: dict[str, int]) -> list[dict[str, Any]]:
    """Traces; what is said of points is put into ``texts``, and they have its place there."""
    traces = []
    for number, panel in enumerate(figure.panels, start=1):
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        if panel.field is not None:
            field = panel.field
            z = [_numbers(row) for row in field.z]
            plane: dict[str, Any] = {"x": _numbers(field.x), "y": _numbers(field.y), "z": z}
            traces.append({"type": "contour", "colorscale": "Viridis", **plane, **axes})
        for series in _joined(panel.series):
            trace = _trace(series, panel.x_label)
            if series.words:
                trace["text"] = [texts.setdefault(each, len(texts)) for each in series.words]
            traces.append(trace | axes)
    return traces


def _joined(series: Sequence[Series]) -> list[Series]:
    """Curves that look alike as one with gaps: of thousands, a browser draws each one slowly."""
    alone = []
    alike: dict[tuple[object, ...], list[Series]] = {}
    for each in series:
        if not isinstance(each.words, str):
            alone.append(each)
            continue
        curve = replace(each, words=[each.words] * len(each.x))
        if len(each.x) == 1:
            curve = replace(curve, kind="points", width=_DOT)
        look = curve.kind, curve.color, curve.width, curve.opacity
        alike.setdefault(look, []).append(curve)
    return alone + [
        replace(
            curves[0],
            x=[place for curve in curves for place in (*curve.x, math.nan)],
            y=[place for curve in curves for place in (*curve.y, math.nan)],
            words=[word for curve in curves for word in (*curve.words, "")],
        )
        for curves in alike.values()
    ]


def _trace(series: Series, x_label: str) -> dict[str, Any]:
    own: dict[str, Any] = {
        "name": series.label,
        "opacity": series.opacity,
        "showlegend": series.in_legend,
        "x": _numbers(series.x),
        "y": _numbers(series.y),
    }
    if series.words:
        place = f"<br>{x_label} %{{x}}: %{{y:.4g}}" if series.kind == "line" and x_label else ""
        own["hovertemplate"] = f"%{{text}}{place}<extra></extra>"
    marker: dict[str, Any] = {"color": series.color}
    if series.kind == "bars":
        bars = {"x": own["y"], "y": own["x"], "orientation": "h", "width": 0.38}
        return own | bars | {"type": "bar", "marker": marker}
    if series.kind == "points":
        marker |= {"size": series.width}
        return own | {"type": "scatter", "mode": "markers", "marker": marker}
    line = {"color": series.color, "width": series.width}
    return own | {"type": "scatter", "mode": "lines", "line": line}


def _numbers(values: Sequence[float]) -> list[float | None]:
    """Six digits are more than a screen shows; nan is a gap."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]


def _layout(figure: Figure) -> dict[str, Any]:
    count = len(figure.panels)
    columns = min(_IN_A_ROW, count)
    rows = -(-count // columns)
    layout: dict[str, Any] = {
        "template": "none",
        "height": 460 if columns == 1 else 320 * rows,
        "margin": {"t": 20, "r": 20, "l": 80, "b": 60},
        "hovermode": "closest",
        "grid": {"rows": rows, "columns": columns, "pattern": "independent", "ygap": 0.35},
        "shapes": [],
        "annotations": [],
    }
    for number, panel in enumerate(figure.panels, start=1):
        layout[f"xaxis{number}"] = _axis(panel.x_label, log=panel.log_x, ticks=panel.x_ticks)
        layout[f"yaxis{number}"] = _axis(panel.y_label, log=panel.log_y, ticks=panel.y_ticks)
        for place, (value, label) in enumerate(panel.levels):
            _add_level(layout, panel, number=number, value=value, label=label, at=1 - 0.3 * place)
    return layout


def _axis(label: str, *, log: bool, ticks: Sequence[tuple[float, str]]) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": label, "standoff": 8}, "automargin": True}
    axis |= {"gridcolor": "#eee", "zeroline": False, "type": "log" if log else "linear"}
    if ticks:
        axis |= {"tickvals": [at for at, _ in ticks], "ticktext": [text for _, text in ticks]}
    return axis


def _add_level(
    layout: dict[str, Any], panel: Panel, *, number: int, value: float, label: str, at: float
) -> None:
    axes = {"xref": f"x{number} domain", "yref": f"y{number}"}
    line = {"color": GREY, "dash": "dash", "width": 1.5}
    layout["shapes"].append({"type": "line", "x0": 0, "x1": 1, "y0": value, "y1": value} | axes)
    layout["shapes"][-1]["line"] = line
    height = math.log10(value) if panel.log_y else value
    said = {"x": at, "y": height, "text": label, "showarrow": False, "xanchor": "right"}
    layout["annotations"].append(said | axes | {"yanchor": "bottom"})
