"""Tables as LaTeX, for a two-column A4 page and the packages array and booktabs."""

import textwrap
from collections.abc import Iterable, Sequence

from dmu_search.report.document import Table

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    # Names of settings may be broken behind these.
    "_": r"\_\allowbreak{}",
    "=": r"=\allowbreak{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
}
# Centimetres: a column and the text of A4 with margins of 2 cm, a character of the tables' small
# type, and what is between two columns.
_COLUMN, _TEXT, _CHARACTER, _GAP = 8.1, 17.0, 0.15, 0.2
# Rows that fit a page; more are set closer.
_ROWS = 52
# Text below this width is not broken into lines.
_NARROWEST = 11


def latex_table(table: Table) -> str:
    """One ``table`` environment, labelled ``tab:<name>``, over both columns where it is wide."""
    widths = _widths(table)
    star = "*" * (_total(widths) > _COLUMN)
    kinds = "".join(map(_kind, *_parts(table, widths)))
    headings = (
        _stacked(column.heading, width) for column, width in zip(table.columns, widths, strict=True)
    )
    stretch = min(1.0, _ROWS / max(len(table.rows), 1))
    lines = [
        rf"\begin{{table{star}}}[p]",
        r"\centering\scriptsize\setlength{\tabcolsep}{0.08cm}",
        rf"\renewcommand{{\arraystretch}}{{{stretch:.2f}}}",
        rf"\caption{{The paper's {_escape(table.title)}.}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{@{{}}{kinds}@{{}}}}",
        r"\toprule",
        _line(headings),
        r"\midrule",
    ]
    for index, texts in enumerate(table.texts()):
        lines += [r"\addlinespace[0.05cm]"] * table.begins_group(index)
        lines.append(_line(map(_protected, texts)))
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        lines.append(rf"\par\smallskip\parbox{{\linewidth}}{{{_escape(' '.join(table.notes))}}}")
    lines.append(rf"\end{{table{star}}}")
    return "\n".join(lines) + "\n"


def latex_document(tables: Sequence[Table]) -> str:
    """A document that shows all tables, from the files that hold them."""
    inputs = "\n".join(rf"\input{{{table.name}.tex}}" for table in tables)
    return (
        "\\documentclass[a4paper,twocolumn]{article}\n"
        "\\usepackage[margin=2cm]{geometry}\n"
        "\\usepackage{array,booktabs}\n"
        "\\extrafloats{100}\n"
        "\\begin{document}\n"
        f"{inputs}\n"
        "\\end{document}\n"
    )


def _widths(table: Table) -> list[int]:
    """Characters of each column; the longest texts are broken until all fits the page."""
    texts = table.texts()
    widths = [
        max(
            *(len(row[index]) for row in texts),
            *map(len, column.heading.split()),
            1,
        )
        for index, column in enumerate(table.columns)
    ]
    words = [index for index in range(len(widths)) if not table.is_number(index)]
    while words and _total(widths) > _TEXT:
        longest = max(words, key=lambda index: widths[index])
        if widths[longest] <= _NARROWEST:
            break
        widths[longest] -= 1
    return widths


def _total(widths: Sequence[int]) -> float:
    return sum(widths) * _CHARACTER + (len(widths) - 1) * _GAP


def _parts(table: Table, widths: Sequence[int]) -> tuple[list[bool], list[int | None]]:
    """Of each column: whether it holds numbers, and its width where texts are broken."""
    columns = zip(*table.texts(), strict=True) if table.rows else ((),) * len(widths)
    broken = [
        width if max(map(len, column), default=0) > width else None
        for column, width in zip(columns, widths, strict=True)
    ]
    return [table.is_number(index) for index in range(len(widths))], broken


def _kind(is_number: bool, width: int | None) -> str:
    if width is None:
        return "r" if is_number else "l"
    return rf">{{\raggedright\arraybackslash}}p{{{width * _CHARACTER:.2f}cm}}"


def _stacked(heading: str, width: int) -> str:
    """A heading in lines no longer than its column."""
    lines = [_escape(line) for line in textwrap.wrap(heading, width)] or [""]
    if len(lines) == 1:
        return _protected(heading)
    inner = r" \\ ".join(lines)
    return rf"\begin{{tabular}}[b]{{@{{}}l@{{}}}}{inner}\end{{tabular}}"


def _line(texts: Iterable[str]) -> str:
    return " & ".join(texts) + r" \\"


def _protected(text: str) -> str:
    # Behind \\ a bracket would be taken for its optional argument.
    escaped = _escape(text)
    return f"{{{escaped}}}" if escaped.startswith("[") else escaped


def _escape(text: str) -> str:
    return "".join(_ESCAPES.get(symbol, symbol) for symbol in text)
