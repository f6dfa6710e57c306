import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

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


@pytest.fixture
def server(store_uri, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store_uri]
    command += ["--artifacts-destination", str(tmp_path / "served"), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/health")
        yield process, address
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(address):
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{address} never answered")
