"""A report as files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dmu_search.folders import write_whole
from dmu_search.report.comma_separated import comma_separated
from dmu_search.report.document import Chart, Report
from dmu_search.report.latex import latex_document, latex_table
from dmu_search.report.markdown import markdown
from dmu_search.report.page import page

MARKDOWN, PAGE = "README.md", "report.html"


def report_files(report: Report) -> dict[str, bytes]:
    """The content of every file of the report, by its path in the report's folder."""
    tables = [table for section in report.sections for table in section.tables]
    charts = [chart for section in report.sections for chart in section.charts]
    figures, narrow = _draw(charts) if charts else ({}, {})
    wide = {chart.name: figures[f"figures/{chart.name}.svg"] for chart in charts}
    texts = {MARKDOWN: markdown(report), PAGE: page(report, wide, narrow=narrow)}
    for table in tables:
        texts[f"tables/{table.name}.csv"] = comma_separated(table)
        texts[f"tables/{table.name}.tex"] = latex_table(table.compact())
    texts["tables/all.tex"] = latex_document(tables)
    return {name: text.encode() for name, text in texts.items()} | figures


def _draw(charts: Sequence[Chart]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Every figure in every format by path, and as SVG for a phone by name."""
    # Here, because matplotlib takes a second to load and most reports of one table need none.
    from dmu_search.report.charts import FORMATS, NARROW, draw

    figures = {
        f"figures/{chart.name}.{form}": draw(chart, form) for chart in charts for form in FORMATS
    }
    return figures, {chart.name: draw(chart, "svg", columns=NARROW) for chart in charts}


def write_report(report: Report, folder: Path) -> None:
    """Write every file of the report below ``folder``, and remove those that it no longer makes.

    Only files of the report's own tables and figures are removed; others there are left alone.

    Raises:
        StorageError: the folder cannot be written.
    """
    files = report_files(report)
    for name, content in files.items():
        write_whole(folder / name, content)
    for path in _own_files(report, folder):
        if str(path.relative_to(folder)) not in files:
            path.unlink()


def _own_files(report: Report, folder: Path) -> Iterator[Path]:
    """What this report or one like it has written: ``tables/table-3-variants.csv``."""
    for section in report.sections:
        for kind in (".*", "-variants.*", "-best.*"):
            for place in ("tables", "figures"):
                yield from (folder / place).glob(f"{section.name}{kind}")
