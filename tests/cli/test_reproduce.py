import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dmu_search.cli.main import main
from dmu_search.cli.reproduce_pages import ProgressLines
from dmu_search.cli.screen import open_console
from dmu_search.engine.plans.plan_file import carry_out_plan, read_plan
from dmu_search.records import read_events
from dmu_search.retraining.on_workers import Going, Progress
from tests.processes import named

SMALL = [
    "training.replicas=2",
    "training.max_epochs=2",
    "data.batches_per_epoch=1",
    "data.length=12",
    "source=paper",
    "task=adding",
]


@pytest.mark.slow
def test_a_plan_goes_to_another_machine_and_comes_back(tmp_path, capsys):
    output_dir = tmp_path / "runs"
    words = ["reproduce", *SMALL, "model=gru,rnn", f"output_dir={output_dir}"]
    assert main([*words, "plan_only=true"]) == 0
    shown = capsys.readouterr().out
    folder = Path(re.search(r"^(\S+) holds 2 trainings\.", shown, re.MULTILINE)[1])
    assert folder.parent == output_dir / "plans"
    assert f"python -m dmu_search.engine {folder.name} OUT" in shown
    assert f"sync OUT/records output_dir={output_dir}" in shown
    # Both trainings are on the same data, which is written once.
    assert {data for _, data in read_plan(folder)} == {"data-0-adding"}
    assert sorted(path.name for path in folder.iterdir()) == ["data-0-adding.npz", "plan.json"]

    out = tmp_path / "out"
    carry_out_plan(
        folder, out, device="cpu", on_begin=lambda run: None, on_epoch=lambda result: None
    )
    assert main(["sync", str(out / "records"), f"output_dir={output_dir}"]) == 0
    capsys.readouterr()
    for again in ("--dry-run", "plan_only=true"):
        assert main([*words, again]) == 0
        assert "everything is recorded; nothing to train" in capsys.readouterr().out
    assert list((output_dir / "plans").iterdir()) == [folder]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table=6"], "table=6: needs no training; `python -m dmu_search report` prints it"),
        (["table=3", "task=adding"], "task=adding: is in none of the named tables and figures"),
        (["task=polymusic", "model=gru"], "source: there is no setting of this source"),
        (
            ["training.learning_rate=interval(0.1,0.2)"],
            "training.learning_rate: reproduce takes one value, no distribution",
        ),
        (["task=adding", "data.corpus=demo"], "data.corpus: "),
        (["runs=2"], "runs: is of a cell; add cell=table-3/dmu-d1"),
        (["cell=table-3/dmu"], "cell: there is no table-3/dmu (did you mean"),
        (["cell=table-3/dmu-d1", "model=dmu"], "model: does not go with cell"),
        (["cell=figure-2/gru", "data.mirror=x"], "data.mirror: only polymusic"),
        (["cell=table-4/rhn-d10", "output_dir=nowhere"], "has no runs in nowhere/records"),
    ],
)
def test_what_cannot_be_reproduced_is_told(words, message, capsys):
    assert main(["reproduce", *words, "--dry-run"]) == 2
    assert message in capsys.readouterr().err


def test_trainings_are_told_when_they_end_and_now_and_then(capsys):
    lines = ProgressLines(open_console(), count=2)
    going = (Going("b", 3, 10),)
    lines.show(Progress((("a", None),), going))
    assert capsys.readouterr().out == "[1/2] a done\n"
    lines.spoke_at -= 60
    lines.show(Progress((), going))
    assert capsys.readouterr().out == "epochs: b 3/10\n"
    lines.show(Progress((("b", "[it] broke"),), ()))
    assert capsys.readouterr().out == "[2/2] b failed: [it] broke\n"


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["raylet", "gcs_server"])
def test_a_command_whose_ray_is_lost_ends_in_order_and_without_ray_on_the_screen(tmp_path, lost):
    words = [each for each in SMALL if "max_epochs" not in each]
    words += ["training.max_epochs=1000000", "model=rnn,gru", f"output_dir={tmp_path}"]
    words += ["resources.cpus=2", "resources.object_store_mb=100", "tracking.uri=none"]
    command = subprocess.Popen(
        [sys.executable, "-m", "dmu_search", "reproduce", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 180
        while sum(b'"metrics"' in each.read_bytes() for each in tmp_path.glob("records/*")) < 2:
            assert command.poll() is None, command.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (victim,) = named(command.pid, lost)
        os.kill(victim, signal.SIGKILL)
        _, errors = command.communicate(timeout=90)
    finally:
        command.kill()
        command.wait()
    assert command.returncode == 1
    (error,) = errors.splitlines()
    assert error.startswith("error: Ray's ")
    assert error.endswith("; the same command resumes where this one stopped")
    records = [list(read_events(path)) for path in tmp_path.glob("records/*")]
    assert len(records) == 2
    assert {"KILLED"} == {
        event["status"] for events in records for event in events if event["event"] == "end"
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "short: needs recorded runs to compare with; add records=docs/results"),
        (["training.max_epochs=3"], "training.max_epochs: short trainings choose it"),
        (["plan_only=true"], "plan_only: short trainings choose it"),
    ],
)
def test_what_short_trainings_refuse(words, message, tmp_path, capsys):
    assert main(["reproduce", "short=true", f"output_dir={tmp_path}", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_short_trainings_say_whether_they_agree_with_the_recorded_ones(tmp_path, capsys):
    words = ["task=adding", "model=gru", "source=paper", "data.batches_per_epoch=20"]
    words += ["tracking.uri=none", "resources.cpus=2"]
    before = tmp_path / "before"
    long = ["training.replicas=12", "training.max_epochs=6", f"output_dir={before}"]
    assert main(["reproduce", *words, *long]) == 0
    assert main(["report", f"output_dir={before}", f"compact={tmp_path / 'kept'}"]) == 0
    short = ["reproduce", *words, "short=true", f"output_dir={tmp_path / 'after'}"]
    assert main([*short, f"records={tmp_path / 'kept'}"]) == 0
    assert "1 of 1 settings agree" in capsys.readouterr().out

    # Another training's curves in the place of these: what is trained already is compared again.
    curves = tmp_path / "kept" / "curves.csv"
    curves.write_text(
        re.sub(r"0\.\d+", lambda number: f"{float(number[0]) / 100:.9f}", curves.read_text())
    )
    assert main([*short, f"records={tmp_path / 'kept'}"]) == 1
    assert "0 of 1 settings agree" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_trained_again_comes_out_equal_unless_its_record_was_changed(tmp_path, capsys):
    given = ["tracking.uri=none", "resources.cpus=1", f"output_dir={tmp_path}"]
    words = ["figure=2", "model=gru", "source=paper"]
    few = ["training.replicas=3", "training.max_epochs=2"]
    assert main(["reproduce", *words, *few, *given]) == 0
    kept = tmp_path / "kept"
    assert main(["report", "table=1", f"output_dir={tmp_path}", f"compact={kept}"]) == 0
    capsys.readouterr()

    again = ["reproduce", "cell=figure-2/gru", "runs=2", *given, f"records={kept}"]
    assert main(again) == 0
    shown = capsys.readouterr().out
    assert "engine build, processor, torch and threads are those of the record" in shown
    assert "of 2 trained again: 2 equal" in shown

    # What is trained already is compared again: with a record of another training, and with one
    # that does not say where it comes from.
    curves, runs = kept / "curves.csv", kept / "runs.csv"
    curves.write_text(re.sub(r"(0\.\d+)", lambda number: f"{float(number[0]) + 1e-3:.9f}",
                             curves.read_text()))  # fmt: skip
    assert main([*again, "training.max_epochs=2"]) == 1
    assert "of 2 trained again: 2 differs" in capsys.readouterr().out
    runs.write_text(re.sub(r"native [0-9a-f]+", "", runs.read_text()))
    assert main(again) == 0
    shown = capsys.readouterr().out
    assert "the record does not say its engine" in shown
    assert "of 2 trained again: 2 within the spread" in shown
