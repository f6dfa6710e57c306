"""A training that was cut off, and what it finds of itself when it is called again."""

import itertools

import pytest
import torch

from dmu_search.engine.plans import runs
from dmu_search.engine.plans.runs import CHECKPOINT_FILE, WEIGHTS_FILE, PlannedRun, carry_out
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks.adding import Adding
from dmu_search.engine.tasks.generated import Rules
from dmu_search.records import Recorder, RunStart, read_events, read_record

RULES = Rules(length=12, batches_per_epoch=1, train_sequences=8, test_sequences=8)


def planned(seed=0, width=3):
    start = RunStart("run", "run", "retraining", params={"a": "1"}, tags={"task": "adding"})
    training = TrainingSettings(0.01, max_epochs=4, replicas=2, batch_size=4, seed=seed)
    return PlannedRun(start, "adding", NetworkSettings("dmu", (width,)), training)


class Bench:
    """Trains one run in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.record = folder / "records" / "run.jsonl"
        self.checkpoint = folder / "run" / CHECKPOINT_FILE
        self.problems = []
        self.epochs = []

    def train(self, *, stop_after=None, run=None):
        counting = itertools.count(1)
        self.epochs = []

        def on_epoch(result):
            self.epochs.append(result.epoch)
            if next(counting) == stop_after:
                raise KeyboardInterrupt

        return carry_out(
            run or planned(),
            Adding(RULES),
            folder=self.folder / "run",
            recorder=Recorder(self.folder / "records"),
            on_epoch=on_epoch,
            on_problem=self.problems.append,
            checkpoint_every_s=0.0,
        )

    def cut_off(self, stop_after=3):
        with pytest.raises(KeyboardInterrupt):
            self.train(stop_after=stop_after)

    def curve(self):
        events = [e for e in read_record(self.record) if e["event"] == "metrics"]
        epochs = [e for e in events if "epoch_wall_time_s" in e["values"]]
        assert [event["step"] for event in epochs] == [1, 2, 3, 4]
        return [event["values"]["val_mse/replica_0"] for event in epochs]

    def kinds(self):
        return [event["event"] for event in read_events(self.record)]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    # A checkpoint after every epoch, however long saving takes.
    monkeypatch.setattr(runs, "_SAVING_SHARE", 0.0)
    return Bench(tmp_path / "cut-off")


@pytest.fixture
def whole(tmp_path):
    """The curve of a training that nothing happened to."""
    bench = Bench(tmp_path / "whole")
    bench.train()
    return bench.curve()


def test_a_cut_off_training_is_resumed_from_its_checkpoint(bench, whole):
    bench.cut_off()
    bench.train()
    assert bench.epochs == [3, 4]
    assert bench.curve() == whole
    assert bench.kinds().count("start") == 2
    assert "restart" not in bench.kinds()
    assert not bench.problems
    assert not bench.checkpoint.exists()
    assert (bench.folder / "run" / WEIGHTS_FILE).exists()


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_another_network(path):
    state = torch.load(path, weights_only=True)
    state["weights"] = {name: weight[..., :1] for name, weight in state["weights"].items()}
    torch.save(state, path)


def without_its_optimiser(path):
    state = torch.load(path, weights_only=True)
    del state["optimiser"]
    torch.save(state, path)


@pytest.mark.parametrize(
    "damage",
    [
        half,
        of_another_network,
        without_its_optimiser,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\0" * 1000),
        lambda path: torch.save([1, 2], path),
    ],
    ids=["half", "other network", "no optimiser", "empty", "zeros", "a list"],
)
def test_a_damaged_checkpoint_means_from_the_start(bench, whole, damage):
    bench.cut_off()
    damage(bench.checkpoint)
    bench.train()
    assert bench.epochs == [1, 2, 3, 4]
    assert bench.curve() == whole
    (problem,) = bench.problems
    assert problem.endswith("is damaged or of another network; the training begins again")
    tags = [event["tags"] for event in read_events(bench.record) if event["event"] == "tags"]
    assert {"problem": problem} in tags


def test_a_training_that_comes_out_otherwise_replaces_its_epochs(bench):
    bench.cut_off()
    bench.checkpoint.unlink()
    # As another machine's rounding would, another seed gives another training.
    bench.train(run=planned(seed=5))
    again = Bench(bench.folder.with_name("other"))
    again.train(run=planned(seed=5))
    assert bench.curve() == again.curve()
    assert bench.kinds().count("restart") == 1


def test_a_record_that_was_lost_is_never_left_with_a_gap(bench, whole):
    bench.cut_off()
    bench.record.unlink()
    bench.train()
    assert bench.epochs == [1, 2, 3, 4]
    assert bench.curve() == whole
    assert bench.problems == ["run: epochs are missing from its record; the training begins again"]


def test_a_record_that_was_cut_back_is_never_left_with_a_gap(bench, whole):
    bench.cut_off()
    lines = bench.record.read_text().splitlines(keepends=True)
    bench.record.write_text("".join(lines[:2]))
    bench.train()
    assert bench.curve() == whole
    assert "epochs are missing" in bench.problems[0]
