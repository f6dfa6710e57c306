"""What docs/guides/own-cell.md and own-task.md add works as they say, by their own code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CELL, TASK = (
    (REPOSITORY / f"docs/guides/{name}").read_text(encoding="utf-8")
    for name in ("own-cell.md", "own-task.md")
)
PAGE = CELL + TASK
# A block that follows the path of its file, or the table that it is a row of.
FILES = dict(
    re.findall(r"^`([\w/.]+)`[^\n]*:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
)
ROWS = dict(re.findall(r"^A row in `(\w+)`[^\n]*:\n\n```python\n(.*?)^```$", PAGE, re.M | re.S))
# Of the task's page last, which say more; what both have is run once.
COMMANDS = dict.fromkeys("".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)).splitlines())


def copy_with_additions(place: Path) -> None:
    """The package and its search spaces, with what the page adds."""
    for folder in ("dmu_search", "search_spaces"):
        shutil.copytree(
            REPOSITORY / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for path, content in FILES.items():
        assert not (place / path).exists(), f"{path} is no addition"
        (place / path).parent.mkdir(exist_ok=True)
        (place / path).write_text(content, encoding="utf-8")
    names = place / "dmu_search/names.py"
    text = names.read_text(encoding="utf-8")
    for table, row in ROWS.items():
        text, count = re.subn(rf"(^{table}: .*?)^}}$", rf"\1{row}}}", text, flags=re.M | re.S)
        assert count == 1, table
    names.write_text(text, encoding="utf-8")


def run(place: Path, *words: str) -> tuple[int, str]:
    path = f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    ended = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_the_page_counts_its_files_and_lines():
    def lines(*parts: str) -> int:
        return sum(content.count("\n") for path, content in FILES.items() if path.endswith(parts))

    counts = {
        "a cell": (CELL, 3, lines("mingru.py", "mingru.yaml") + ROWS["MODELS"].count("\n")),
        "a task": (TASK, 4, lines("digits.py", "digits.yaml") + ROWS["TASKS"].count("\n")),
        "its test": (CELL, 1, lines("test_own_cell.py")),
        "its tests": (TASK, 1, lines("test_own_task.py")),
    }
    assert len(FILES) == 7
    for what, (page, files, count) in counts.items():
        row = rf"^\| {what}\b[^|]*\| {files} \| {count} \|$"
        assert re.search(row, page, re.MULTILINE), (what, files, count)


@pytest.mark.slow
def test_a_cell_and_a_task_of_ones_own(tmp_path):
    copy_with_additions(tmp_path)
    code, shown = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "tests/")
    assert code == 0, shown[-5000:]
    # The cell has no program for the native loop, which skips one test; nothing else is skipped.
    assert re.search(r"\d+ passed, 1 skipped", shown), shown[-500:]

    said = {}
    for line in COMMANDS:
        words = line.split()[2:]
        if words[0] == "pytest":
            continue
        own = ["search.page=false"] if words[1] == "tune" else []
        own += ["data.batches_per_epoch=2"] if "task=adding" in words else []
        own += ["tracking.uri=none"] if words[1] in ("tune", "train") else []
        own += ["training.max_epochs=1"] if words[1] == "train" else []
        code, said[words[1]] = run(tmp_path, *words, *own)
        assert code == 0, (line, said[words[1]][-5000:])

    plain = "PyTorch loop, several times slower than could be: MinGRU has no program for the native"
    for command in ("tune", "train"):
        assert f"engine     {plain}" in said[command]
        assert "digits: 1257 / 270 / 270 images of 8 x 8" in said[command]
    assert "widths of 100 per layer: the paper has no networks on digits" in said["tune"]
    assert "no published setting of mingru at depth 1: nothing is tried first" in said["tune"]
    assert "over 5 fresh seeds" in said["tune"]
    assert "replica 1, seed 2" in said["train"]
    assert re.search(r"digits +mingru +1 +\(100\) +the only one +digits +2 x 1", said["report"])
    assert "PyTorch loop for mingru" in said["doctor"]

    (file,) = (tmp_path / "runs/retrained").glob("*/config.yaml")
    assert "backend: reference" in file.read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_the_paper_lacks_is_said_in_a_sentence(tmp_path):
    copy_with_additions(tmp_path)
    for words, code, sentence in (
        (["reproduce", "task=digits"], 2, "the paper has no such task, so there is nothing to rep"),
        (["reproduce", "model=mingru"], 2, "there is no setting of this source for these tasks"),
        (["tune", "task=digits", "network.widths=matched"], 2, "has no networks on digits; use n"),
        (["data", "task=digits"], 0, "digits: needs no file"),
        (
            ["tune", "task=adding", "model=mingru", "--dry-run"],
            0,
            "widths matched to the paper's D",
        ),
    ):
        ended, shown = run(tmp_path, "dmu_search", *words)
        assert ended == code, (words, shown)
        assert sentence in shown, (words, shown)
        assert "Traceback" not in shown, words
