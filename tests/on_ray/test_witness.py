"""What is said of a process that is gone."""

import os
import signal
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from dmu_search.on_ray.witness import witnessed
with witnessed("it began\\n") as witness:
    {body}
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os._exit(3)", "it began\n"),
        ("os.kill(os.getpid(), 9)", "it began\n"),
        ("witness.entrust('it is at work\\n'); os._exit(3)", "it is at work\n"),
        ("witness.dismiss(); os._exit(3)", ""),
        ("pass", ""),
        ("raise SystemExit(4)", ""),
    ],
)
def test_a_process_that_ends_without_a_word_is_spoken_for(body, said):
    script = [sys.executable, "-c", SCRIPT.format(body=body)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert done.stderr == said


def test_what_ends_the_process_does_not_end_its_witness():
    """As where a terminal ends: the signal goes to the whole group."""
    body = "print('there', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "there\n"
    os.killpg(process.pid, signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert said == "it began\n"
