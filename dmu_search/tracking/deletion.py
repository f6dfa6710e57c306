"""A study taken out of the records and out of MLflow."""

import glob
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dmu_search.errors import TrackingError
from dmu_search.folders import OutputFolder, not_writable
from dmu_search.records import record_files
from dmu_search.study.files import Study
from dmu_search.tracking.mlflow_runs import connect
from dmu_search.tracking.store import default_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PAGE = 1000


def records_of(study: Study) -> list[Path]:
    """The records of a study, its trials and its finalists."""
    own = re.compile(re.escape(study.name) + r"(\.\d{4,}|\.finalist-\d{4,}-\d+)?")
    records = OutputFolder(study.settings.output_dir).records
    return [path for path in record_files(records) if own.fullmatch(path.stem)]


def delete_records(study: Study) -> int:
    """Remove a study's records, and how far they had come; returns how many there were.

    Raises:
        StorageError: one cannot be removed.
    """
    paths = records_of(study)
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as fault:
            raise not_writable(path, str(fault.strerror)) from None
    for places in OutputFolder(study.settings.output_dir).sent.glob(f"*/{glob.escape(study.name)}"):
        shutil.rmtree(places, ignore_errors=True)
    return len(paths)


def delete_runs(study: Study) -> int:
    """Delete a study's runs and models in MLflow; returns how many runs there were.

    Raises:
        TrackingError: the store cannot be reached.
    """
    settings, output_dir = study.settings.tracking, study.settings.output_dir
    uri = settings.uri or default_uri(output_dir)
    file = Path(uri.removeprefix("sqlite:///"))
    if uri == "none" or (uri.startswith("sqlite:") and not file.exists()):
        return 0
    client = connect(uri)
    try:
        # All at first: a page that is read while its runs go would skip some.
        found = list(_run_ids(client, study.name))
        for model_id in list(_model_ids(client, study.name)):
            client.delete_logged_model(model_id)
        for run_id in found:
            client.delete_run(run_id)
    except Exception as fault:  # Whatever a database or network client raises.
        raise TrackingError(
            f"tracking.uri={uri}: the study's runs cannot be deleted there "
            f"({' '.join(str(fault).split())[:200]}); nothing else of it was removed; "
            "the same command tries again"
        ) from None
    return len(found)


def _run_ids(client: "MlflowClient", study: str) -> Iterator[str]:
    experiments = _experiments(client)
    token: str | None = None
    while True:
        page = client.search_runs(
            experiments, f"tags.study = '{study}'", max_results=_PAGE, page_token=token
        )
        yield from (run.info.run_id for run in page)
        token = page.token
        if not token:
            return


def _model_ids(client: "MlflowClient", study: str) -> Iterator[str]:
    experiments = _experiments(client)
    token: str | None = None
    while True:
        page = client.search_logged_models(experiments, f"tags.study = '{study}'", page_token=token)
        yield from (model.model_id for model in page)
        token = page.token
        if not token:
            return


def _experiments(client: "MlflowClient") -> list[str]:
    return [each.experiment_id for each in client.search_experiments()]
