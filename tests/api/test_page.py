"""The blocks of docs/python.md, in order, in a process of their own as a notebook is one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs/python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
CHECKS = """
assert study.best.trial in (0, 1) and study.settings.title == "sums-mingru-d1"
assert study.load()(torch.rand(2, 5, 1)).shape == (2, 5, 1)
assert (study.folder / "study.html").exists()
sums = ds.runs_frame("runs").query("task == 'sums'")
assert set(sums["trial"]) == {0, 1} and sums["val_mae"].notna().all()
assert again.best.values == frame_best and outputs.shape == (2, 5, 1)
assert set(frame["kind"]) == {"trial"} and set(frame["data_name"]) == {"adding"}
assert len(again.trials_frame()) == 3 and list(frame["epoch"])[0] == 1
assert Path("history.png").read_bytes()[1:4] == b"PNG"
"""


def test_a_cell_and_a_task_take_thirty_lines():
    assert "class MinGRU" in BLOCKS[-1]
    assert BLOCKS[-1].count("\n") <= 30


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_works(tmp_path):
    # Ray first, as in a notebook that has used it for something else.
    lines = ["import ray", "from pathlib import Path", *BLOCKS]
    lines.insert(4, "frame_best = study.best.values")
    script = tmp_path / "page.py"
    script.write_text("\n".join([*lines, CHECKS]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=1700
    )
    assert done.returncode == 0, done.stderr
    assert "does not answer" not in done.stdout
