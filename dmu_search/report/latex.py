"""Tables as LaTeX, for a document that uses the package booktabs."""

from collections.abc import Sequence

from dmu_search.report.document import Table

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
}


def latex_table(table: Table) -> str:
    """One ``table`` environment, labelled ``tab:<name>``, its notes in the caption."""
    columns = range(len(table.columns))
    kinds = "".join("r" if table.is_number(index) else "l" for index in columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{' '.join(map(_escape, (f'{table.title}.', *table.notes)))}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{@{{}}{kinds}@{{}}}}",
        r"\toprule",
        _line([column.heading for column in table.columns]),
        r"\midrule",
    ]
    for index, texts in enumerate(table.texts()):
        lines += [r"\addlinespace"] * table.begins_group(index)
        lines.append(_line(texts))
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def latex_document(tables: Sequence[Table]) -> str:
    """A document that shows all tables, from the files that hold them."""
    inputs = "\n".join(rf"\input{{{table.name}.tex}}" for table in tables)
    return (
        "\\documentclass{article}\n"
        "\\usepackage[paperwidth=45cm,paperheight=40cm,margin=1.5cm]{geometry}\n"
        "\\usepackage{booktabs}\n"
        "\\begin{document}\n"
        f"{inputs}\n"
        "\\end{document}\n"
    )


def _line(texts: Sequence[str]) -> str:
    return " & ".join(map(_protected, texts)) + r" \\"


def _protected(text: str) -> str:
    # Behind \\ a bracket would be taken for its optional argument.
    escaped = _escape(text)
    return f"{{{escaped}}}" if escaped.startswith("[") else escaped


def _escape(text: str) -> str:
    return "".join(_ESCAPES.get(symbol, symbol) for symbol in text)
