"""What becomes of a record that was cut, overwritten, or is of two trainings."""

import os

import pytest

from dmu_search.errors import StorageError
from dmu_search.records import (
    Recorder,
    RunStart,
    check_records,
    collect_records,
    first_tags,
    read_events,
    read_record,
    record_files,
)

RUN = RunStart("a-run", "a run", "retraining", params={"a": 1}, tags={"b": "c"})


def write_run(folder, losses=(3.0, 2.0, 1.0), run=RUN):
    recorder = Recorder(folder)
    recorder.start(run)
    for epoch, loss in enumerate(losses, start=1):
        recorder.log(run.run_id, {"loss": loss, "epoch_wall_time_s": 0.1}, step=epoch)
    return recorder


def losses_of(path):
    events = [event for event in read_record(path) if event["event"] == "metrics"]
    return {event["step"]: event["values"]["loss"] for event in events}


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"\xff\xfe\x00",
        b"\0" * 40,
        b"3",
        b"[1]",
        b"{}",
        b'{"event": 7}',
        b'{"event": ["metrics"]}',
        b'{"event": "metrics", "step": 2, "time_ms": 1}',
        b'{"event": "metrics", "step": "2", "time_ms": 1, "values": {}}',
        b'{"event": "metrics", "step": 2, "time_ms": 1, "values": [1]}',
        b'{"event": "metrics", "step": 2, "time_ms": 1, "values": {"loss": null}}',
        b'{"event": "metrics", "step": 2, "time_ms": 1, "values": {"loss": "much"}}',
        b'{"event": "tags", "tags": {"a": 1}}',
        b'{"event": "end", "time_ms": 1}',
        b'{"event": ' + b"[" * 100_000,
    ],
    ids=lambda line: line[:50].decode(errors="replace"),
)
def test_a_damaged_line_is_named_with_the_way_out(tmp_path, line):
    write_run(tmp_path)
    path = tmp_path / "a-run.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], line, *lines[2:]]) + b"\n")
    with pytest.raises(StorageError, match="line 3 is damaged; restore the file from a copy, or"):
        read_record(path)


def test_the_record_of_a_trial_can_be_written_anew(tmp_path):
    (tmp_path / "my-study.0012.jsonl").write_text("x\n")
    with pytest.raises(StorageError, match="doctor study=my-study` writes it anew"):
        read_record(tmp_path / "my-study.0012.jsonl")


def test_a_record_without_its_beginning_is_damaged(tmp_path):
    write_run(tmp_path)
    path = tmp_path / "a-run.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    for read in (read_record, first_tags):
        with pytest.raises(StorageError, match="its beginning is missing"):
            read(path)


def test_zeros_that_a_power_cut_leaves_at_the_end_are_dropped(tmp_path):
    recorder = write_run(tmp_path)
    path = tmp_path / "a-run.jsonl"
    with path.open("ab") as file:
        file.write(b"\0" * 100)
    assert len(losses_of(path)) == 3
    recorder = Recorder(tmp_path)
    recorder.start(RUN)
    recorder.log("a-run", {"loss": 0.5}, step=4)
    assert losses_of(path)[4] == 0.5


def test_only_files_are_records(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    write_run(tmp_path)
    assert [path.name for path in record_files(tmp_path)] == ["a-run.jsonl"]


def test_a_record_never_mixes_two_trainings(tmp_path):
    write_run(tmp_path, (3.0, 2.0, 1.0))
    write_run(tmp_path, (3.0, 2.5))
    path = tmp_path / "a-run.jsonl"
    assert losses_of(path) == {1: 3.0, 2: 2.5}
    assert [event["event"] for event in read_events(path)].count("start") == 2
    # What came first is in the file still, for whoever asks why.
    assert sum(event["event"] == "metrics" for event in read_events(path)) == 4


def test_a_summary_goes_with_the_epochs_it_was_made_of(tmp_path):
    recorder = write_run(tmp_path, (3.0, 2.0))
    recorder.summarise("a-run", {"loss": 9.0})
    write_run(tmp_path, (4.0,))
    assert losses_of(tmp_path / "a-run.jsonl") == {1: 4.0}


def test_epochs_that_a_record_lacks_are_noticed(tmp_path):
    recorder = write_run(tmp_path)
    assert not recorder.lacks("a-run", 3)
    assert recorder.lacks("a-run", 4)
    recorder.log("a-run", {"loss": 0.1}, step=6)
    assert recorder.lacks("a-run", 6)


def test_all_records_are_checked_before_one_is_copied(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    write_run(there)
    write_run(there, run=RunStart("b-run", "b", "retraining"))
    write_run(there, run=RunStart("c-run", "c", "retraining"))
    write_run(here, (7.0,), run=RunStart("c-run", "another", "retraining"))
    (there / "b-run.jsonl").write_text("x\n")
    before = (here / "c-run.jsonl").read_bytes()
    for check in (check_records, collect_records):
        with pytest.raises(StorageError) as caught:
            check(there, here)
        damaged, other = caught.value.faults
        assert "b-run.jsonl: line 1 is damaged" in damaged
        assert "is another run of the same name" in other
    assert [path.name for path in here.iterdir()] == ["c-run.jsonl"]
    assert (here / "c-run.jsonl").read_bytes() == before
