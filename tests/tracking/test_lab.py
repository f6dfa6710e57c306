"""A laboratory's server, `mlflow/lab`: a real PostgreSQL, passwords, several workers, restarts."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dmu_search.cli.main import main
from dmu_search.config.settings import TrackingSettings
from dmu_search.records import RunStart
from dmu_search.tracking import open_tracking

LAB = Path(__file__).parents[2] / "mlflow" / "lab"
PASSWORD, SECRET, OF_DATABASE = "admin-of-the-lab", "of-all-workers-0123", "of-the-database-0123"
STUDIES, TRIALS, EPOCHS = 4, 4, 30

pytestmark = pytest.mark.slow


def programs():
    """PostgreSQL's programs, where its package keeps them."""
    for folder in (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path()):
        if (found := shutil.which(str(folder / "initdb") if folder.name else "initdb")) is not None:
            return Path(found).parent
    pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Database:
    """A real PostgreSQL in a folder of its own; it refuses to run as root, so nobody does."""

    def __init__(self):
        self._programs = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="lab-"))
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        self._port = free_port()
        secret = self.folder / "password"
        secret.write_text(OF_DATABASE + "\n")
        words = ["--username=mlflow", f"--pwfile={secret}", "--auth=scram-sha-256"]
        self._run("initdb", "--pgdata=data", *words)
        self.start()
        self.run("createdb", "mlflow")

    def start(self):
        options = f"-p {self._port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "--pgdata=data", "--wait", "--log=log", f"--options={options}", "start")

    def stop(self):
        """As a loss of power would: connections are cut off, and the next start recovers."""
        self._run("pg_ctl", "--pgdata=data", "--mode=immediate", "stop")

    def run(self, program, *words):
        """One of PostgreSQL's programs as a client."""
        where = ["--host=127.0.0.1", f"--port={self._port}", "--username=mlflow"]
        return self._run(program, *where, *words)

    def uri(self, name="mlflow"):
        return f"postgresql://mlflow:{OF_DATABASE}@127.0.0.1:{self._port}/{name}"

    def _run(self, program, *words):
        subprocess.run(
            [self._programs / program, *words],
            cwd=self.folder,
            user=self._user,
            env={**os.environ, "PGPASSWORD": OF_DATABASE},
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=120,
        )


class Lab:
    """`mlflow/lab` with two workers."""

    def __init__(self, database_uri, folder):
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._env = {
            **os.environ,
            "LAB_DATABASE_URI": database_uri,
            "LAB_ARTIFACTS": str(folder / "artifacts"),
            "LAB_PORT": str(port),
            "LAB_WORKERS": "2",
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": SECRET,
        }
        self.start()

    def start(self):
        self._process = subprocess.Popen(
            [LAB],
            env=self._env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            with suppress(OSError):
                urllib.request.urlopen(f"{self.address}/health", timeout=5).close()
                return
            assert self._process.poll() is None, "the server ended"
            time.sleep(0.5)
        raise AssertionError(f"{self.address} never answered")

    def kill(self):
        """All its processes at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def database():
    database = Database()
    yield database
    with suppress(subprocess.CalledProcessError):
        database.stop()
    shutil.rmtree(database.folder)


@pytest.fixture(scope="module")
def lab(database, tmp_path_factory):
    lab = Lab(database.uri(), tmp_path_factory.mktemp("lab"))
    yield lab
    lab.kill()


@pytest.fixture
def known(monkeypatch):
    """The environment of somebody with a password."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)


def write(recorder, study, trial, *, pace_s):
    run_id = f"{study}.{trial:04d}"
    recorder.start(RunStart(run_id, run_id, "trial", parent_id=study, tags={"study": study}))
    for epoch in range(1, EPOCHS + 1):
        recorder.log(run_id, {"val_mse": 1 / epoch, "train_mse": 2 / epoch}, step=epoch)
        time.sleep(pace_s)
    recorder.end(run_id, "FINISHED")


def points(address):
    """(run, metric, step) -> how often it is there."""
    client = MlflowClient(address)
    experiments = [each.experiment_id for each in client.search_experiments()]
    return Counter(
        (run.data.tags["dmu_search.run_id"], name, point.step)
        for run in client.search_runs(experiments)
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )


def test_a_restart_of_each_part_loses_and_repeats_nothing(database, lab, known, tmp_path):
    settings = TrackingSettings(uri=lab.address, experiment="dmu_search")
    places = [tmp_path / f"s{number}" for number in range(STUDIES)]
    trackings = [open_tracking(settings, place) for place in places]
    writers = []
    for number, tracking in enumerate(trackings):
        tracking.begin()
        study = f"s{number}"
        tracking.recorder.start(RunStart(study, study, "study", tags={"study": study}))
        writers += [
            threading.Thread(
                target=write, args=(tracking.recorder, study, trial), kwargs={"pace_s": 0.4}
            )
            for trial in range(TRIALS)
        ]
    for writer in writers:
        writer.start()
    time.sleep(3)
    database.stop()
    time.sleep(2)
    database.start()
    time.sleep(2)
    lab.kill()
    time.sleep(2)
    lab.start()
    for writer in writers:
        writer.join()
    for number, tracking in enumerate(trackings):
        tracking.recorder.end(f"s{number}", "FINISHED")
        assert tracking.settle(120) is None
        tracking.close()
    expected = {
        (f"s{study}.{trial:04d}", name, epoch)
        for study in range(STUDIES)
        for trial in range(TRIALS)
        for name in ("val_mse", "train_mse")
        for epoch in range(1, EPOCHS + 1)
    }
    assert points(lab.address) == Counter(dict.fromkeys(expected, 1))


def test_a_backup_restored_elsewhere_is_the_same(database, lab, known, tmp_path):
    before = points(lab.address)
    database.run("pg_dump", "--format=custom", "--file=backup", "mlflow")
    database.run("createdb", "restored")
    database.run("pg_restore", "--dbname=restored", "backup")
    again = Lab(database.uri("restored"), tmp_path)
    try:
        assert before
        assert points(again.address) == before
    finally:
        again.kill()


@pytest.mark.parametrize("password", [None, "a-wrong-password"])
def test_a_wrong_password_is_a_sentence_before_anything_is_written(
    lab, monkeypatch, tmp_path, capfd, password
):
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    out = tmp_path / "runs"
    code = main(["tune", "task=adding", f"tracking.uri={lab.address}", f"output_dir={out}"])
    error = capfd.readouterr().err
    assert code == 2
    assert "refuses this user" in error
    assert "MLFLOW_TRACKING_PASSWORD" in error
    assert error.count("\n") == 1
    assert not (out / "studies").exists()


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("LAB_DATABASE_URI", "LAB_DATABASE_URI is not set"),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD is not set"),
        ("MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_FLASK_SERVER_SECRET_KEY is not set"),
    ],
)
def test_nothing_starts_with_a_default_password(missing, said):
    env = {
        "LAB_DATABASE_URI": "postgresql://nobody:nothing@127.0.0.1:1/none",
        "LAB_ARTIFACTS": "/nowhere",
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": SECRET,
    }
    kept = {name: value for name, value in env.items() if name != missing}
    done = subprocess.run(
        [LAB], env={"PATH": os.environ["PATH"], **kept}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert said in done.stderr
