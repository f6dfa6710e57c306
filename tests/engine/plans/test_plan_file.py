"""Plans carried out by a process that could have nothing but torch and numpy."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dmu_search.engine.__main__ import main
from dmu_search.engine.plans.plan_file import carry_out_plan, read_plan, write_plan
from dmu_search.engine.plans.runs import PlannedRun
from dmu_search.engine.settings import NetworkSettings, TrainingSettings
from dmu_search.engine.tasks import task_class
from dmu_search.engine.tasks.generated import Rules
from dmu_search.engine.tasks.polymusic import PianoRolls
from dmu_search.engine.training.trainer import Trainer
from dmu_search.errors import StorageError
from dmu_search.records import RunStart, read_events
from tests.engine.conftest import small_pairs

ROLLS = np.random.default_rng(0).integers(0, 2, (9, 6, 88), dtype=np.uint8)
DATA = {
    "rules": Rules(length=12, batches_per_epoch=2, train_sequences=8, test_sequences=8),
    "pairs": small_pairs(),
    "rolls": PianoRolls(tuple(ROLLS[:4]), tuple(ROLLS[4:6]), tuple(ROLLS[6:, :4])),
}
REPOSITORY = Path(__file__).resolve().parents[3]


def planned(name, task, max_epochs=2):
    start = RunStart(name, name, "retraining", params={"a": "1"}, tags={"task": task})
    training = TrainingSettings(0.01, max_epochs=max_epochs, replicas=2, batch_size=4)
    return PlannedRun(start, task, NetworkSettings("dmu", (3, 4)), training)


RUNS = [(planned("first", "adding"), "rules"), (planned("second", "polymusic"), "rolls")]


def test_a_plan_comes_back_as_it_was_written(tmp_path):
    write_plan(tmp_path, RUNS, data=DATA)
    assert read_plan(tmp_path) == RUNS


@pytest.mark.parametrize("name", DATA)
def test_data_comes_back_from_arrays(name):
    arrays = DATA[name].to_arrays()
    again = type(DATA[name]).from_arrays(arrays).to_arrays()
    assert {key: value.tolist() for key, value in again.items()} == {
        key: value.tolist() for key, value in arrays.items()
    }


@pytest.mark.slow
def test_a_plan_gives_what_the_trainer_gives_and_is_carried_out_once(tmp_path, monkeypatch, capsys):
    write_plan(tmp_path / "plan", RUNS, data=DATA)
    words = [str(tmp_path / "plan"), str(tmp_path / "out"), "--device", "cpu"]
    command = [sys.executable, "-m", "dmu_search.engine", *words]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "first" in ended.stdout
    monkeypatch.setattr(sys, "argv", ["dmu_search.engine", *words])
    assert main() == 0
    assert "first" not in capsys.readouterr().out
    for run, name in RUNS:
        events = list(read_events(tmp_path / "out" / "records" / f"{run.name}.jsonl"))
        assert events[-1]["status"] == "FINISHED"
        trainer = Trainer(task_class(run.task)(DATA[name]), run.network, training=run.training)
        while not trainer.finished:
            trainer.run_epoch()
        (expected,) = {
            k: v for k, v in trainer.evaluate_best(["test"]).items() if "batch" not in k
        }.values()
        values = {k: v for e in events if e["event"] == "metrics" for k, v in e["values"].items()}
        objective = f"test_{task_class(run.task).objective}"
        assert [values[f"{objective}/replica_{i}"] for i in range(2)] == list(expected)


def test_a_machine_with_only_torch_and_numpy_is_enough():
    program = (
        "import sys; import dmu_search.engine.__main__; print([name for name in "
        "('ray', 'mlflow', 'hydra', 'omegaconf', 'optuna', 'scipy', 'rich', 'pooch') "
        "if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_a_cut_off_plan_goes_on(tmp_path):
    write_plan(tmp_path / "plan", RUNS[:1], data=DATA)
    seen = []

    def cut_off(result):
        seen.append(result.epoch)
        raise KeyboardInterrupt

    def call(on_epoch):
        carry_out_plan(
            tmp_path / "plan",
            tmp_path / "out",
            device="cpu",
            on_begin=lambda run: None,
            on_epoch=on_epoch,
        )

    with pytest.raises(KeyboardInterrupt):
        call(cut_off)
    call(lambda result: seen.append(result.epoch))
    assert seen[-1] == 2
    events = list(read_events(tmp_path / "out" / "records" / "first.jsonl"))
    assert events[-1]["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "plan.json").unlink(), "no such file"),
        (lambda folder: (folder / "plan.json").write_text("{}"), "is no plan"),
        (lambda folder: (folder / "plan.json").write_text('{"format": 9}'), "another version"),
        (lambda folder: (folder / "rules.npz").write_bytes(b"x"), "cannot be read"),
    ],
)
def test_a_damaged_plan_is_an_error(tmp_path, break_it, message):
    write_plan(tmp_path / "plan", RUNS[:1], data=DATA)
    break_it(tmp_path / "plan")
    with pytest.raises(StorageError, match=message):
        carry_out_plan(
            tmp_path / "plan",
            tmp_path / "out",
            device="cpu",
            on_begin=lambda run: None,
            on_epoch=lambda result: None,
        )


def test_every_replica_diverged_is_told(tmp_path, monkeypatch, capsys):
    run = planned("bad", "polymusic", max_epochs=3)
    run = replace(run, training=replace(run.training, learning_rate=1e30))
    write_plan(tmp_path / "plan", [(run, "rolls")], data=DATA)
    words = ["dmu_search.engine", str(tmp_path / "plan"), str(tmp_path / "out"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 1
    assert "every replica diverged" in capsys.readouterr().err
