"""Records with names that are code: the report shows them, and a browser runs none of it."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from dmu_search.report.build import build_report
from dmu_search.report.files import MARKDOWN, PAGE, write_report
from tests.results.runs import NOWHERE, paper_run, recorded

HOSTILE = "<script>alert(1)<img src=x onerror=alert(1)>\"'[x](javascript:alert(1))\x1b[31m|`"


class Parts(HTMLParser):
    """The elements of a page, with what a browser would run or ask for."""

    def __init__(self):
        super().__init__()
        self.tags = set()
        self.addresses = []
        self.handlers = []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.addresses += [
            value for name, value in attributes if name in ("href", "src", "srcset", "action")
        ]


def test_hostile_names_reach_neither_page_nor_markdown_as_code(tmp_path):
    tests = (3.5, 3.6, 3.7, 3.5, 3.6)
    run = paper_run()
    runs = [
        replace(recorded(run, tests, run_id=HOSTILE), data_name="nottingham"),
        replace(recorded(run, tests, run_id="other", first_seed=9), data_name=HOSTILE),
        recorded(paper_run(**{"data.corpus": HOSTILE}), tests, run_id="corpus"),
    ]
    report = build_report(
        runs,
        tables=(3,),
        figures=(),
        sources=["paper", "released", "best"],
        output_dir=NOWHERE,
        records=Path(f"/records{HOSTILE}"),
    )
    write_report(report, tmp_path)
    parts = Parts()
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    parts.feed(page)
    # It is in the page: the folder of the records is part of the commands that are missing.
    assert "&lt;script&gt;alert(1)" in page
    assert not parts.tags & {"script", "iframe", "object", "embed", "form", "base"}
    assert not parts.handlers
    assert all(each.startswith(("#", "data:image/", "https://")) for each in parts.addresses)
    markdown = (tmp_path / MARKDOWN).read_text(encoding="utf-8")
    assert "alert(1)" in markdown
    assert "<script" not in markdown.replace("\\<", "")
    assert "<img" not in markdown.replace("\\<", "")
    assert "](javascript" not in markdown
