"""Trained networks as MLflow's logged models.

MLflow's own default, an exported graph, cannot trace the native loop. A model is kept as a
reference to our class with a description of plain values, and its weights once more as a file that
``torch.load(.., weights_only=True)`` reads.
"""

import inspect
import json
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import dmu_search
from dmu_search.engine.networks.module import TrainedNetwork
from dmu_search.folders import written_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Of a study or a training, in its own folder.
MODEL_FOLDER = "model"
NETWORK_FILE, WEIGHTS_FILE = "network.json", "weights.pt"
_DIGEST_TAG = "dmu_search.weights_sha256"


def write_model(
    folder: Path, description: Mapping[str, Any], *, weights: Mapping[str, torch.Tensor]
) -> None:
    """Write what ``log_model`` reads.

    Args:
        folder: gets two files.
        description: of ``engine.networks.module.describe``.
        weights: of one replica.

    Raises:
        StorageError: it cannot be written.
    """
    with written_whole(folder / NETWORK_FILE) as file:
        file.write(json.dumps(description, indent=1).encode())
    with written_whole(folder / WEIGHTS_FILE) as file:
        torch.save(dict(weights), file)


def read_model(folder: Path) -> TrainedNetwork:
    """The network in a folder of ``write_model``."""
    weights = torch.load(folder / WEIGHTS_FILE, weights_only=True, map_location="cpu")
    return TrainedNetwork(json.loads((folder / NETWORK_FILE).read_bytes()), weights)


def log_model(
    client: "MlflowClient", run_id: str, *, folder: Path, name: str, tags: Mapping[str, str]
) -> None:
    """Make the network in ``folder`` the one model of a run, unless it is that already.

    A model that the run had before, such as that of a study before its finalists, is deleted.

    Args:
        client: of the store.
        run_id: MLflow's own, whose metrics become the model's.
        folder: of ``write_model``.
        name: of the model.
        tags: of it.

    Raises:
        mlflow.exceptions.MlflowException: the store cannot be written.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    run = client.get_run(run_id)
    digest = sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    experiment = run.info.experiment_id
    there = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    wanted = {**tags, _DIGEST_TAG: digest}
    kept = False
    for each in there:
        same = all(each.tags.get(name) == value for name, value in wanted.items())
        # One that is not ready was cut off by a kill between its beginning and its end.
        if same and each.status == LoggedModelStatus.READY:
            kept = True
        else:
            client.delete_logged_model(each.model_id)
    if kept:
        return
    model = client.create_logged_model(
        experiment,
        name=name,
        source_run_id=run_id,
        tags=wanted,
        params=dict(list(run.data.params.items())[:100]),
        model_type="torch.nn.Module",
    )
    with tempfile.TemporaryDirectory(prefix="dmu_search-model-") as scratch:
        path = Path(scratch) / "model"
        _save(path, read_model(folder), model_id=model.model_id, run_id=run_id, files=folder)
        client.log_model_artifacts(model.model_id, str(path))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, models=[LoggedModelOutput(model.model_id, step=0)])
    _link_metrics(client, run, model_id=model.model_id)


def _save(path: Path, network: TrainedNetwork, *, model_id: str, run_id: str, files: Path) -> None:
    from mlflow import pytorch
    from mlflow.models import Model, infer_signature

    example = network.example()
    with torch.no_grad():
        output = network(example, *(() if network.description["kind"] == "network" else (example,)))
    # Older versions know only the pickled form, and have no name for it.
    known = inspect.signature(pytorch.save_model).parameters
    form = {"serialization_format": "pickle"} if "serialization_format" in known else {}
    pytorch.save_model(
        network,
        str(path),
        mlflow_model=Model(model_id=model_id, run_id=run_id),
        signature=infer_signature(example.numpy(), output.numpy()),
        input_example=example.numpy(),
        pip_requirements=[
            f"dmu-search=={dmu_search.__version__}",
            f"torch=={torch.__version__.partition('+')[0]}",
        ],
        extra_files=[str(files / NETWORK_FILE), str(files / WEIGHTS_FILE)],
        **form,
    )


def _link_metrics(client: "MlflowClient", run: Any, *, model_id: str) -> None:
    """The run's summary becomes the model's too, each split's with its data set.

    Time and step stay the same, so that the run has no point twice.
    """
    splits = {"train_": "train", "best_val_": "validation", "test_": "test"}
    datasets = {
        tag.value: each.dataset
        for each in run.inputs.dataset_inputs
        for tag in each.tags
        if tag.key == "mlflow.data.context"
    }
    for name in run.data.metrics:
        split = next((split for start, split in splits.items() if name.startswith(start)), None)
        if split is None or "/" in name:
            continue
        point = client.get_metric_history(run.info.run_id, name)[-1]
        dataset = datasets.get(split)
        client.log_metric(
            run.info.run_id,
            name,
            point.value,
            timestamp=point.timestamp,
            step=point.step,
            model_id=model_id,
            dataset_name=None if dataset is None else dataset.name,
            dataset_digest=None if dataset is None else dataset.digest,
        )
