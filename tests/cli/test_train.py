"""The command ``train`` after it was cut off."""

import os
import re

import pytest

from dmu_search.cli import train as command
from dmu_search.cli.main import main
from dmu_search.errors import StorageError
from dmu_search.folders import claimed
from dmu_search.results.trainings import read_runs

WORDS = [
    "training.replicas=2",
    "training.max_epochs=3",
    "data.batches_per_epoch=1",
    "data.length=12",
    "tracking.uri=none",
]


@pytest.fixture
def words(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("task: adding\nmodel: gru\ndepth: 1\ntraining: {learning_rate: 0.01}\n")
    return ["train", f"config={file}", f"output_dir={tmp_path / 'runs'}", *WORDS]


def interrupt_after_an_epoch(monkeypatch):
    def stop(self, result):
        raise KeyboardInterrupt

    monkeypatch.setattr(command._Progress, "__call__", stop)


def test_the_same_command_goes_on_where_it_was_cut_off(words, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after_an_epoch(patch)
        assert main(words) == 130
    assert "the same command resumes it" in capsys.readouterr().err
    (begun,) = read_runs(tmp_path / "runs" / "records")
    assert (begun.status, begun.epochs) == ("KILLED", 1)

    assert main(words) == 0
    assert f"resumes {begun.run_id}" in capsys.readouterr().out
    (done,) = read_runs(tmp_path / "runs" / "records")
    assert (done.run_id, done.status, done.epochs) == (begun.run_id, "FINISHED", 3)


def test_what_was_finished_or_differs_is_a_new_training(words, tmp_path, monkeypatch):
    assert main(words) == 0
    assert main(words) == 0
    with monkeypatch.context() as patch:
        interrupt_after_an_epoch(patch)
        assert main([*words, "training.seed=7"]) == 130
    assert main([*words, "training.seed=8"]) == 0
    assert len(read_runs(tmp_path / "runs" / "records")) == 4


def test_two_processes_never_train_the_same_run(tmp_path):
    with (
        claimed(tmp_path / "run"),
        pytest.raises(StorageError, match=f"is in use by process {os.getpid()} on .* since"),
        claimed(tmp_path / "run"),
    ):
        pytest.fail("claimed twice")
    with claimed(tmp_path / "run"):
        pass


@pytest.mark.parametrize(("widths", "note"), [("auto", True), ("[3]", False)])
def test_the_header_says_what_trains_and_where_widths_are_from(words, widths, note, capsys):
    assert main([*words, f"network.widths={widths}"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^engine     (native|PyTorch) loop", shown, re.MULTILINE)
    assert ("note       widths matched" in shown) == note
