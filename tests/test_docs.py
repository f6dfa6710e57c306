"""Every block of code of the site's pages runs, or says why not; and the site builds."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dmu_search
from dmu_search.config.grammar import parse_overrides
from dmu_search.config.keys import KEYS
from docs.blocks import blocks, commands, own_test, pages, prepare, script, with_settings
from tests.browser import browser_page

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = {path.relative_to(REPOSITORY).as_posix(): path for path in pages()}
RUN_HERE = [
    name
    for name, path in PAGES.items()
    if own_test(path) is None and any(block.reason is None for block in blocks(path))
]
# Of the pages' commands, those that need the data of the paper.
NEEDS_FILES = ("docs/generate.md",)


@pytest.mark.parametrize("name", PAGES)
def test_no_command_hides_in_another_block(name):
    fences = re.split(r"^```(\w*)$", PAGES[name].read_text(encoding="utf-8"), flags=re.MULTILINE)
    outside, kinds, inside = fences[::4], fences[1::4], fences[2::4]
    assert set(kinds) <= {"bash", "python", "text", "yaml", ""}
    others = [text for kind, text in zip(kinds, inside, strict=True) if kind in ("text", "")]
    assert not re.search(r"^python -m dmu_search|^import ", "\n".join(others), re.MULTILINE)
    assert not re.search(r"^ {4,}(python|pip|ray) ", "\n".join(outside), re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_options_of_programs_exist(name):
    text = PAGES[name].read_text(encoding="utf-8")
    for program, words in re.findall(r"python (benchmarks/\w+\.py)([^#`\n]*)", text):
        source = (REPOSITORY / program).read_text(encoding="utf-8")
        for option in re.findall(r"--[\w-]+", words):
            assert f'"{option}"' in source, f"{name}: {program} has no {option}"


@pytest.mark.parametrize("name", PAGES)
def test_the_blocks_of_a_page_can_be_read(name):
    own = [] if own_test(PAGES[name]) else blocks(PAGES[name])
    shell = [block for block in own if block.language == "bash"]
    if shell:
        script_text = "\n".join(block.code for block in shell)
        subprocess.run(["bash", "-n"], input=script_text, text=True, check=True)
    for block in shell:
        for words in commands(block.code):
            command, *rest = with_settings(words, block.settings)
            parse_overrides(command, [word for word in rest if re.match(r"[\w.]+=", word)])
    for block in own:
        if block.language == "python":
            ast.parse(block.code)


def test_what_is_said_to_run_a_block_exists():
    reasons = [block.reason for path in pages() for block in blocks(path) if block.reason]
    assert reasons
    for named in re.findall(r"(?:tests|\.ci)/[\w./]+", " ".join(reasons)):
        assert (REPOSITORY / named).exists(), named


def test_a_page_with_a_test_of_its_own_is_read_by_it():
    for name, path in PAGES.items():
        test = own_test(path)
        assert test is None or Path(name).name in test.read_text(encoding="utf-8"), name


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", RUN_HERE)
def test_the_blocks_of_a_page_run(name, tmp_path):
    if name in NEEDS_FILES and "DMU_SEARCH_DATA_MIRROR" not in os.environ:
        pytest.skip("needs the data of the paper")
    prepare(tmp_path)
    for shared in ("benchmarks", "docs", "search_spaces"):
        (tmp_path / shared).symlink_to(REPOSITORY / shared)
    path = PAGES[name]
    python = [block.code for block in blocks(path) if block.language == "python"]
    (tmp_path / "page.py").write_text("\n".join(python), encoding="utf-8")
    for command in (["bash", "-c", script(path)], [sys.executable, "page.py"]):
        ended = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "agg"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=3000,
        )
        print(ended.stdout)
        assert ended.returncode == 0, ended.stderr[-5000:]


@pytest.mark.slow
def test_the_site_builds_and_fetches_nothing(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr[-3000:]
    keys = (tmp_path / "docs/reference/keys.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in keys for name in KEYS)
    api = (tmp_path / "docs/reference/api.html").read_text(encoding="utf-8")
    names = [*dmu_search.__all__[1:], *(f"cells.{name}" for name in dmu_search.cells.__all__)]
    missing = [name for name in names if f'id="dmu_search.{name}"' not in api]
    assert missing == ["cells", "cells.Shape", "cells.State"]
    shown = ("index.html", "docs/tutorial.html", "docs/reference/api.html")
    with browser_page() as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        for name in (*shown, "docs/notebooks/first_study.html", "docs/reference/keys.html"):
            page.goto((tmp_path / name).as_uri(), wait_until="load")
        page.goto((tmp_path / "index.html").as_uri() + "?q=learning_rate")
        page.wait_for_selector(".md-search-result__item")
    assert len(asked) > len(shown)
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_notebook_runs_again(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.read(REPOSITORY / "docs/notebooks/first_study.ipynb", as_version=4)
    before = [outputs(cell) for cell in book.cells]
    assert (REPOSITORY / "docs/notebooks/first_study.ipynb").stat().st_size < 500_000
    nbclient.NotebookClient(
        book, timeout=1500, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert [outputs(cell) for cell in book.cells] == before, "execute it anew and keep its outputs"
    assert list((tmp_path / "runs/generated").glob("*.mid"))


def outputs(cell):
    """The kinds of a cell's outputs, in order."""
    return [
        sorted(output.get("data", [output["output_type"]])) for output in cell.get("outputs", [])
    ]
