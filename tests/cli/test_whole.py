"""The commands as a user types them, in processes of their own."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dmu_search.cli.main import main
from dmu_search.records import event_of
from dmu_search.results.trainings import read_run, read_runs
from dmu_search.retraining.exported import read_run_file

PROGRAM = [sys.executable, "-m", "dmu_search"]
SMALL = ["data.corpus=demo", "data.limit=4", "network.widths=[8]", "resources.cpus=2"]


@pytest.fixture
def place(tmp_path, demo_store):
    return [f"output_dir={tmp_path / 'runs'}", f"data.root={demo_store.root}"]


def run(*words):
    done = subprocess.run([*PROGRAM, *words], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_tune_then_train(tmp_path, place, capsys):
    words = ["search.trials=3", "training.max_epochs=2", "search.max_concurrent=1", *SMALL, *place]
    code, shown, errors = run("tune", "model=dmu", *words)
    assert code == 0, shown + errors
    for part in (
        "4 / 4 / 4 sequences",
        "2 CPU cores",
        "[3/3]",
        "best (trial",
        "the first of its task, model and depth on demo",
        "workflowType=machine_learning",
        "train config=",
    ):
        assert part in shown
    # The file that the screen names to train next.
    exported = Path(re.search(r"train config=(\S+)", shown)[1])
    assert exported.match("runs/best/polymusic/demo-????????/dmu-d1.yaml")
    file = read_run_file(exported)
    # Three trials of two epochs pay for no fresh seeds.
    assert re.search(
        r"finalists  none: they need 8 epochs, more than search\.finalist_share", shown
    )
    assert file.provenance["finalists"]["state"] == "unconfirmed"
    for name in ("objective", "trial", "mlflow_run", "data", "code", "packages", "sampler_seed"):
        assert name in file.provenance
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    best = client.get_run(file.provenance["mlflow_run"])
    assert best.data.metrics["objective"] == file.provenance["objective"]
    parent = client.get_run(best.data.tags["mlflow.parentRunId"])
    assert "won: val_nll_nats" in parent.data.tags["mlflow.note.content"]
    artifacts = {each.path for each in client.list_artifacts(parent.info.run_id)}
    assert {"best.yaml", "best_weights.pt", "study.html", "plots"} <= artifacts

    words = [f"config={exported}", "training.replicas=2", "training.max_epochs=2", *place]
    assert main(["train", *words]) == 0
    shown = capsys.readouterr().out
    assert "replicas   2, seeds 1 to 2 (the search used others)" in shown
    assert re.search(r"replica 0, seed 1 +\d+\.\d{4} +\d+\.\d{4} +\d+\.\d{4} +\d/2", shown)
    assert re.search(r"mean ± std +\d+\.\d{4} ± \d+\.\d{4}", shown)


@pytest.mark.slow
def test_train_translates_and_scores_each_replica(tmp_path, place, small_files, capsys):
    file, mine = tmp_path / "mine.yaml", tmp_path / "mine.zip"
    mine.write_bytes((small_files / "por-eng.zip").read_bytes())
    file.write_text(
        "task: por2eng\nmodel: gru\ndepth: 1\nnetwork: {widths: [32]}\n"
        "training: {learning_rate: 0.01, batch_size: 4, weight_decay: 0.0}\n"
    )
    words = [f"config={file}", f"data.pairs_file={mine}", "training.teacher_forcing_ratio=0.5"]
    words += ["training.replicas=2", "training.max_epochs=12", "tracking.uri=none", *place]
    assert main(["train", *words]) == 0
    shown = capsys.readouterr().out
    assert "mine: 29 / 6 / 6 pairs, 19 words to 17" in shown
    rows = re.findall(r"replica \d, seed \d +(\S+) +(\S+) +(\S+) +\d+/12 +(\S+)", shown)
    assert len(rows) == 2
    (record,) = (tmp_path / "runs" / "records").glob("train-por2eng-*.jsonl")
    (run,) = read_runs(record.parent)
    for replica, row in zip(run.replicas, rows, strict=True):
        # It says whole sentences right by now.
        assert replica.metrics["test_bleu"] > 10
        assert row[2:] == (
            f"{replica.metrics['test_accuracy']:.4f}",
            f"{replica.metrics['test_bleu']:.2f}",
        )


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, words):
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLUMNS="120", LINES="40")
            os.execv(PROGRAM[0], [*PROGRAM, *words])
        self.shown = ""

    def read_until(self, pattern, timeout_s=120):
        end = time.monotonic() + timeout_s
        while not re.search(pattern, self.shown):
            assert time.monotonic() < end, f"{pattern} never came:\n{self.shown[-3000:]}"
            if select.select([self._fd], [], [], 0.5)[0]:
                self.shown += os.read(self._fd, 65536).decode(errors="replace")

    def press(self, key):
        os.write(self._fd, key)

    def wait(self):
        try:
            while data := os.read(self._fd, 65536):
                self.shown += data.decode(errors="replace")
        except OSError:
            pass  # how Linux says that the program closed its terminal
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.slow
def test_ctrl_c_keeps_what_finished_and_resume_completes_both_studies(tmp_path, place):
    words = ["search.trials=3", "training.max_epochs=400", "search.max_concurrent=1"]
    words += ["model=dmu,rhn", "search.scheduler=none", "search.checkpoint_every_s=1"]
    words += ["search.page=false"]
    terminal = Terminal(["tune", *words, *SMALL, *place])
    terminal.read_until(r"1/3 trials done")
    terminal.press(b"\x03")
    assert terminal.wait() == 130
    assert "Traceback" not in terminal.shown
    assert "interrupted; what finished is kept. To resume:" in terminal.shown
    assert "tune resume=latest output_dir=" in terminal.shown

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    before = {run.info.run_id for run in client.search_runs(["1"])}
    assert all(client.get_run(run_id).info.status != "RUNNING" for run_id in before)

    code, shown, errors = run("tune", "resume=latest", *place)
    assert code == 0, shown + errors
    runs = client.search_runs(["1"])
    assert before <= {run.info.run_id for run in runs}
    kinds = [run.data.tags["dmu_search.kind"] for run in runs]
    assert (kinds.count("study"), kinds.count("trial"), kinds.count("comparison")) == (2, 6, 1)
    assert "polymusic: 2 studies" in shown
    assert all(run.info.status == "FINISHED" for run in runs)
    for model in ("dmu", "rhn"):
        (best,) = (tmp_path / "runs" / "best" / "polymusic").glob(f"*/{model}-d1.yaml")
        assert f"train config={best} " in shown


@pytest.mark.slow
def test_reproduce_goes_on_after_a_kill_and_trains_nothing_twice(tmp_path):
    out = tmp_path / "runs"
    words = ["reproduce", "figure=2", "model=gru,rnn", f"output_dir={out}", "resources.cpus=2"]
    words += ["training.replicas=2", "training.max_epochs=60", "data.batches_per_epoch=40"]
    first = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while sum(file.stat().st_size > 9000 for file in (out / "records").glob("*")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    first.send_signal(signal.SIGINT)
    shown = first.communicate(timeout=60)[0]
    assert first.returncode == 130
    assert "the same command resumes it" in shown

    code, shown, errors = run(*words)
    assert code == 0, errors
    assert len(re.findall(r"adding-\w+-d2-paper-released-[\d-]+ done", shown)) == 2
    assert len(list((out / "records").glob("*.jsonl"))) == 2
    code, shown, _ = run(*words)
    assert "everything is recorded" in shown

    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    found = client.search_runs(["1"])
    assert [each.info.status for each in found] == ["FINISHED", "FINISHED"]
    history = client.get_metric_history(found[0].info.run_id, "val_mse/replica_1")
    assert [point.step for point in history] == list(range(1, 61))


@pytest.mark.slow
def test_finalists_outlive_a_kill_and_the_file_says_what_they_gave(tmp_path, place):
    words = ["search.trials=24", "training.max_epochs=30", "search.scheduler=none"]
    words += ["search.sampler=random", "data.limit=40"]
    words += [*SMALL[:1], *SMALL[2:], *place]
    first = subprocess.Popen([*PROGRAM, "tune", *words], stdout=subprocess.PIPE, text=True)
    records = tmp_path / "runs" / "records"
    deadline = time.monotonic() + 400

    def finalists():
        return [path for path in records.glob("*.finalist-*") if read_run(path) is not None]

    while not any(read_run(path).ended for path in finalists()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    first.kill()
    shown = first.communicate(timeout=60)[0]
    assert "finalists  trial " in shown
    # Ray's workers end with the driver, each at its own pace.
    time.sleep(5)
    over = {path.name: path.read_bytes() for path in finalists() if read_run(path).ended}
    (own,) = (tmp_path / "runs" / "studies").glob("*/best.yaml")
    assert read_run_file(own).provenance["finalists"] == {
        "state": "unconfirmed",
        "why": "the finalists have not ended",
        "seeds": 2,
    }

    code, shown, errors = run("tune", "resume=latest", *place)
    assert code == 0, shown + errors
    assert "confirmed  trial " in shown
    for name, before in over.items():
        added = (records / name).read_bytes().removeprefix(before)
        # Its network is kept once the winner is known; nothing is trained again.
        assert {event_of(line)["event"] for line in added.splitlines()} <= {"model", "tags"}
    file = read_run_file(own)
    told = file.provenance["finalists"]
    assert told["state"] == "confirmed"
    assert file.provenance["trial"] in {each["trial"] for each in told["compared"]}
    assert "paper" in str([each["warm_start"] for each in told["compared"]])
    assert told["mean"] == min(each["mean"] for each in told["compared"])
    assert told["interval_95"][0] < told["mean"] < told["interval_95"][1]
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    runs = client.search_runs(["1"])
    kinds = [each.data.tags["dmu_search.kind"] for each in runs]
    assert (kinds.count("study"), kinds.count("finalist")) == (1, len(told["compared"]))
    assert all(each.info.status == "FINISHED" for each in runs)
    (study,) = (each for each in runs if each.data.tags["dmu_search.kind"] == "study")
    assert study.data.metrics["fresh_seeds_mean"] == told["mean"]
    assert study.data.tags["finalists"] == "confirmed"
    assert "confirmed over 2 fresh seeds" in study.data.tags["mlflow.note.content"]
    # What is trained next takes seeds of neither.
    code, shown, errors = run("train", f"config={own}", "--dry-run", *place)
    assert code == 0, errors
    assert "replicas   5, seeds 3 to 7 (the search used others)" in shown
