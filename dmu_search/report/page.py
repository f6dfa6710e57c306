"""A report as one HTML page that asks for nothing from outside."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from dmu_search.report.document import Report
from dmu_search.report.named_settings import SOURCE_NAMES
from dmu_search.report.strips import STATES, how_to_list_runs

_TEMPLATE = Path(__file__).with_name("page.html.jinja")


def page(report: Report, wide: Mapping[str, bytes], *, narrow: Mapping[str, bytes]) -> str:
    """The whole report, figures and style included.

    Args:
        report: what to show.
        wide: every figure as SVG, by name.
        narrow: the same for a phone.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = _code
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        report=report,
        states=STATES,
        how_to_list_runs=how_to_list_runs(),
        sources=SOURCE_NAMES,
        wide={name: _address(content) for name, content in wide.items()},
        narrow={name: _address(content) for name, content in narrow.items()},
    )


def _code(text: str) -> Markup:
    """Escaped, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _address(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
