import shutil

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
