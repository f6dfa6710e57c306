"""The journal on disk: whole lines only, damage said in a sentence, nothing half-written."""

import json
import os
import subprocess
import sys

import pytest

from dmu_search.errors import StorageError
from dmu_search.study.journal import Journal, read_journal
from dmu_search.study.trials import StudyState


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study-x" / "journal.jsonl"


@pytest.fixture
def written(path):
    path.parent.mkdir()
    journal = Journal(path)
    for number in range(3):
        journal.append({"event": "ask", "trial": number, "values": {"a": 0.1}, "source": None})
    journal.close()
    return path


def test_events_come_back_in_order(written):
    events = read_journal(written)
    assert [event["trial"] for event in events] == [0, 1, 2]
    assert all(event["time_ms"] > 1e12 for event in events)


def test_a_last_line_cut_off_by_a_kill_is_dropped_and_written_over(written):
    whole = written.read_bytes()
    for cut in (1, 7, 40):
        written.write_bytes(whole[:-cut])
        assert [event["trial"] for event in read_journal(written)] == [0, 1]
        journal = Journal(written)
        journal.append({"event": "fail", "trial": 0, "error": "x"})
        journal.close()
        assert [event["event"] for event in read_journal(written)] == ["ask", "ask", "fail"]


@pytest.mark.parametrize("line", [b"{", b"\xff\xfe", b"[1]", b'{"trial": 1}', b'"x"', b"null"])
def test_damage_before_the_end_is_said_with_the_way_out(written, line):
    lines = written.read_bytes().splitlines()
    written.write_bytes(b"\n".join([lines[0], line, lines[2], b""]))
    message = r"journal.jsonl: line 2 is damaged; `python -m dmu_search doctor study=study-x`"
    with pytest.raises(StorageError, match=message):
        read_journal(written)


@pytest.mark.parametrize(
    "event",
    [
        {"event": "result", "trial": 9, "epoch": 1, "objective": 1, "metrics": {}, "decision": "x"},
        {"event": "ask", "trial": 0, "values": {}, "source": None},
        {"event": "checkpoint", "trial": 0},
        {"event": "study", "format": 99},
    ],
)
def test_events_that_make_no_sense_are_said_with_the_way_out(written, event):
    events = [*read_journal(written), event]
    with pytest.raises(StorageError, match=r"event 4 of the journal .* makes no sense there"):
        StudyState.of(events)


def test_events_of_later_versions_are_passed_over(written):
    state = StudyState.of([*read_journal(written), {"event": "telescope", "trial": 1}])
    assert len(state.trials) == 3


def test_nothing_but_finite_numbers_and_texts_gets_in(path):
    path.parent.mkdir()
    with pytest.raises(ValueError, match="JSON"):
        Journal(path).append({"event": "ask", "values": {"a": float("inf")}})


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_leaves_no_half_line(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        path = disk / "journal.jsonl"
        journal = Journal(path)
        event = {"event": "ask", "values": {"text": "x" * 5000}, "trial": 0, "source": None}

        def fill():
            for _ in range(100):
                journal.append(event)

        with pytest.raises(StorageError, match=r"cannot be written \(No space left on device\)"):
            fill()
        kept = read_journal(path)
        assert len(kept) >= 10
        assert path.read_bytes().endswith(b"\n")
        path.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in kept[:2]))
        journal.append({"event": "fail", "trial": 0, "error": "there is space again"})
        journal.close()
        assert [each["event"] for each in read_journal(path)] == ["ask", "ask", "fail"]
    finally:
        journal.close()
        subprocess.run(["umount", str(disk)], check=True)


def test_nothing_in_a_journal_is_executed(written):
    """A planted object would have to be unpickled or evaluated; JSON can do neither."""
    source = "import sys; sys.modules['pickle'] = sys.modules['cloudpickle'] = None; "
    source += "from pathlib import Path; from dmu_search.study.journal import read_journal; "
    source += f"print(len(read_journal(Path({str(written)!r}))))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.stdout.strip() == "3", done.stderr
