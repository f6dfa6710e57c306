import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest

from dmu_search.tracking.mlflow_runs import MlflowRuns


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A migrated store, made once: migrations take seconds."""
    folder = tmp_path_factory.mktemp("store")
    MlflowRuns(
        f"sqlite:///{folder / 'mlflow.db'}", "dmu_search", artifact_root=folder / "mlartifacts"
    )
    return folder / "mlflow.db"


@pytest.fixture
def store_uri(empty_store, tmp_path):
    """The address of an empty store of the test's own."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


class Server:
    """A real MLflow server on a free port, which can be killed and started again."""

    def __init__(self, store_uri, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._store_uri = store_uri
        self._folder = folder
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri"]
        command += [self._store_uri, "--artifacts-destination", str(self._folder / "served")]
        command += ["--workers", "1", "--host", "127.0.0.1", "--port", str(self._port)]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=1).close()
                return
            except OSError:
                time.sleep(0.5)
        raise AssertionError(f"{self.address} never answered")

    def kill(self):
        """With the processes that it has started itself."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def server(store_uri, tmp_path):
    server = Server(store_uri, tmp_path)
    server.start()
    yield server
    with suppress(ProcessLookupError):
        server.kill()
