"""How `mkdocs` makes the site: its pages are files of the repository, each at its own path.

So a link is the same on the site and in the repository's browser, and one that leads nowhere is a
warning, which ends the build.
"""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
# Pages outside docs/, and files that pages link to.
OUTSIDE = (
    "*.md",
    "LICENSE",
    "benchmarks/**/README.md",
    "cluster.yaml",
    "dmu_search/config/keys.py",
    "dmu_search/data/treebank.py",
    "dmu_search/names.py",
    "mlflow/README.md",
    "search_spaces/**/*.yaml",
)


class Notebook(File):
    """A notebook as a page."""

    def is_documentation_page(self) -> bool:
        """It is one, whatever its ending."""
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's own files, then those of the repository that the site shows or links to."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    docs = [
        path
        for path in sorted((REPOSITORY / "docs").rglob("*"))
        if path.is_file() and path.suffix not in (".py", ".pyc", ".sh")
    ]
    outside = [path for each in OUTSIDE for path in sorted(REPOSITORY.glob(each))]
    return Files([*theme, *(_file(path, config) for path in [*docs, *outside])])


def _file(path: Path, config: MkDocsConfig) -> File:
    uri = path.relative_to(REPOSITORY).as_posix()
    if path.suffix == ".ipynb":
        return Notebook.generated(config, uri, content=notebook_text(path.read_text("utf-8")))
    return File(uri, str(REPOSITORY), config.site_dir, config.use_directory_urls)


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Leave the tables of results out of the search, which would find them for every key."""
    if page.file.src_uri == "docs/results/README.md":
        page.meta["search"] = {"exclude": True}
    return markdown


def notebook_text(content: str) -> str:
    """A notebook in Markdown: its texts, its code, and what the code put out.

    Args:
        content: of the file, of format 4.
    """
    return "\n\n".join(part for cell in json.loads(content)["cells"] for part in _parts(cell))


def _parts(cell: dict) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for is_text, shown in groupby(map(_shown, cell["outputs"]), lambda each: each[0]):
        content = "".join(part for _, part in shown)
        if content.strip():
            yield f"```text\n{content.rstrip()}\n```" if is_text else content


def _shown(output: dict) -> tuple[bool, str]:
    """Whether an output is text, and its content in Markdown."""
    data = {kind: "".join(content) for kind, content in output.get("data", {}).items()}
    if "image/png" in data:
        image = data["image/png"].replace("\n", "")
        return False, f'<img alt="" src="data:image/png;base64,{image}">'
    if table := re.search(r"<table[^>]*>(.*)</table>", data.get("text/html", ""), re.DOTALL):
        # Without pandas' own style.
        return False, "".join(line.strip() for line in f"<table>{table[1]}</table>".splitlines())
    # What rich prints is there as a page too, and empty there where it prints nothing.
    text = data.get("text/plain", "".join(output.get("text", "")))
    return True, "" if data.get("text/html") == "" else f"{text.rstrip()}\n"
