"""Searches from Python: interrupted, and in a Ray that is there already."""

import os
import signal
import subprocess
import sys
import time

import pytest

SEARCH = """
import sys
import dmu_search as ds
WORDS = dict(model="gru", depth=1, trials=2, batches_per_epoch=2, cpus=2)
WORDS |= dict(name="mine", output_dir=sys.argv[1])
OTHERS = {"search.page": False, "search.scheduler": "none", "tracking.uri": "none"}
"""
pytestmark = pytest.mark.slow


def test_ctrl_c_gives_back_the_study_and_it_goes_on(tmp_path):
    runs = tmp_path / "runs"
    script = f"""{SEARCH}
study = ds.tune("adding", max_epochs=100_000, overrides=OTHERS, **WORDS)
frame = study.trials_frame()
print("left with", len(frame), "trials of", study.name, flush=True)
again = ds.tune(resume="mine", output_dir=sys.argv[1], overrides={{"search.time_budget_s": 1}})
print("resumed", again.name)
"""
    command = [sys.executable, "-c", script, str(runs)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as it:
        journal = runs / "studies" / "mine" / "journal.jsonl"
        end = time.monotonic() + 240
        while not (journal.is_file() and '"result"' in journal.read_text(encoding="utf-8")):
            assert it.poll() is None, it.stdout.read()
            assert time.monotonic() < end, "no epoch"
            time.sleep(0.2)
        os.kill(it.pid, signal.SIGINT)
        shown, _ = it.communicate(timeout=240)
    assert it.returncode == 0, shown
    assert "left with 2 trials of mine" in shown
    assert "resumed mine" in shown
    assert "Traceback" not in shown


def test_a_ray_that_was_started_before_is_used_and_stays(tmp_path):
    script = f"""
import ray
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200_000_000)
before = ray.get_runtime_context().get_node_id()
{SEARCH}
study = ds.tune("adding", max_epochs=2, overrides=OTHERS, **WORDS)
assert ray.is_initialized() and ray.get_runtime_context().get_node_id() == before
print("found", study.best.objective)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "found 0." in done.stdout
