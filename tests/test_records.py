import math

import pytest

from dmu_search.errors import StorageError
from dmu_search.records import (
    Recorder,
    RecordTail,
    RunStart,
    collect_records,
    read_events,
    read_record,
)

RUN = RunStart(
    "study.t1", "trial 001", "trial", parent_id="study", params={"a": 1}, tags={"b": "c"}
)


def test_a_record_comes_back_as_it_was_written(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.start(RUN)
    recorder.log("study.t1", {"loss": 2.5, "bad": math.nan, "worse": math.inf}, step=1)
    recorder.end("study.t1", "FINISHED")
    start, metrics, end = read_events(tmp_path / "study.t1.jsonl")
    assert (start["name"], start["params"], start["tags"]) == ("trial 001", {"a": 1}, {"b": "c"})
    assert metrics["values"]["loss"] == 2.5
    assert math.isnan(metrics["values"]["bad"])
    assert metrics["values"]["worse"] == math.inf
    assert end["status"] == "FINISHED"


def test_epochs_repeated_after_a_resume_are_kept_once(tmp_path):
    for _ in range(2):
        recorder = Recorder(tmp_path)
        recorder.start(RUN)
        recorder.log("study.t1", {"loss": 1.0}, step=1)
        recorder.log("study.t1", {"loss": 2.0}, step=2)
    recorder.log("study.t1", {"loss": 3.0}, step=3)
    events = list(read_events(tmp_path / "study.t1.jsonl"))
    assert [e["step"] for e in events if e["event"] == "metrics"] == [1, 2, 3]
    assert recorder.epochs("study.t1") == 3


def test_a_training_that_gives_other_results_voids_what_it_repeats(tmp_path):
    """A record never mixes two trajectories; durations may differ."""
    recorder = Recorder(tmp_path)
    recorder.start(RUN)
    for step in (1, 2, 3):
        recorder.log("study.t1", {"loss": float(step), "epoch_wall_time_s": 1.0}, step=step)
    again = Recorder(tmp_path)
    again.start(RUN)
    again.log("study.t1", {"loss": 1.0, "epoch_wall_time_s": 9.0}, step=1)
    again.log("study.t1", {"loss": 2.5, "epoch_wall_time_s": 9.0}, step=2)
    again.log("study.t1", {"loss": math.nan, "epoch_wall_time_s": 9.0}, step=3)
    path = tmp_path / "study.t1.jsonl"
    kinds = [event["event"] for event in read_events(path)]
    assert kinds == ["start", *["metrics"] * 3, "start", "restart", "metrics", "metrics"]
    kept = [e["values"]["loss"] for e in read_record(path) if e["event"] == "metrics"]
    assert kept[:2] == [1.0, 2.5]
    assert math.isnan(kept[2])
    assert len(kept) == 3
    # The same again, with nan where nan was, adds nothing.
    third = Recorder(tmp_path)
    third.start(RUN)
    third.log("study.t1", {"loss": math.nan, "epoch_wall_time_s": 2.0}, step=3)
    assert [event["event"] for event in read_events(path)] == [*kinds, "start"]


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.start(RUN)
    recorder.log("study.t1", {"loss": 1.0}, step=1)
    path = tmp_path / "study.t1.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"event": "metr')
    Recorder(tmp_path).start(RUN)
    assert [event["event"] for event in read_events(path)] == ["start", "metrics", "start"]


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.start(RUN)
    path = tmp_path / "study.t1.jsonl"
    path.write_text("garbage\n" + path.read_text())
    with pytest.raises(StorageError, match="line 1 is damaged"):
        list(read_events(path))


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        Recorder(tmp_path / "file").start(RUN)


def test_events_are_on_disk_before_they_are_forwarded(tmp_path):
    seen = []

    def forward(run_id, event):
        seen.append((run_id, event["event"], len(list(read_events(tmp_path / f"{run_id}.jsonl")))))

    recorder = Recorder(tmp_path, forward)
    recorder.start(RUN)
    recorder.end("study.t1", "KILLED")
    assert seen == [("study.t1", "start", 1), ("study.t1", "end", 2)]


def test_the_tail_of_a_record_gives_each_whole_line_once(tmp_path):
    tail = RecordTail(tmp_path / "study.t1.jsonl")
    assert tail.new_events() == []
    recorder = Recorder(tmp_path)
    recorder.start(RUN)
    assert [event["event"] for event in tail.new_events()] == ["start"]
    recorder.log("study.t1", {"loss": math.nan}, step=1)
    with (tmp_path / "study.t1.jsonl").open("a") as file:
        file.write('{"event": "me')
    (event,) = tail.new_events()
    assert math.isnan(event["values"]["loss"])
    assert tail.new_events() == []


def test_records_are_collected_and_longer_ones_replace_shorter(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    recorder = Recorder(there)
    recorder.start(RUN)
    collect_records(there, here)
    recorder.log("study.t1", {"loss": 1.0}, step=1)
    for _ in range(2):
        collect_records(there, here)
        assert (here / "study.t1.jsonl").read_bytes() == (there / "study.t1.jsonl").read_bytes()
    Recorder(here).start(RUN)
    collect_records(there, here)  # the shorter one brings nothing
    assert len(list(read_events(here / "study.t1.jsonl"))) == 3
    recorder.end("study.t1", "FINISHED")
    with pytest.raises(StorageError, match="has other epochs"):
        collect_records(there, here)
