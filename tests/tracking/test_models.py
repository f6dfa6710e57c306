"""Models as MLflow loads and ranks them, in a real store."""

import mlflow
import pytest
import torch

from dmu_search.config.settings import TrackingSettings
from dmu_search.engine.networks.module import TrainedNetwork, describe
from dmu_search.engine.networks.network import build_network
from dmu_search.engine.settings import NetworkSettings
from dmu_search.records import Recorder, RunStart
from dmu_search.tracking import sync_records
from dmu_search.tracking.models import write_model

SPLITS = [
    {"name": f"d {split}", "digest": "1", "split": split, "source_type": "code", "source": "{}"}
    for split in ("train", "validation", "test")
]
SETTINGS = NetworkSettings("dmu", (4,))
NETWORK = build_network(SETTINGS, input_size=2, readout=(1,))


def write_drawn(folder, *, seed):
    """A network as drawn, to be a model; returns its weights."""
    drawn = NETWORK.initialise([torch.Generator().manual_seed(seed)])
    weights = {key: each[0] for key, each in drawn.items()}
    write_model(folder, describe(NETWORK, SETTINGS), weights=weights)
    return weights


@pytest.mark.slow
def test_models_are_plain_modules_ranked_by_what_they_gave(store_uri, tmp_path):
    recorder = Recorder(tmp_path / "records")
    for number, loss in enumerate((0.5, 0.25)):
        name = f"s{number}"
        weights = write_drawn(tmp_path / name, seed=number)
        recorder.start(RunStart(name, name, "study", tags={"task": "adding"}, datasets=SPLITS))
        recorder.summarise(name, {"test_mse": loss})
        recorder.attach_model(name, tmp_path / name, name=name, tags={"task": "adding"})
        recorder.end(name, "FINISHED")
    for _ in range(2):
        sync_records(
            tmp_path / "records", TrackingSettings(store_uri, "dmu_search"), output_dir=tmp_path
        )
    client = mlflow.MlflowClient(store_uri)
    experiment = client.get_experiment_by_name("dmu_search-adding").experiment_id
    by_loss = [{"field_name": "metrics.test_mse", "ascending": True}]
    models = client.search_logged_models([experiment], order_by=by_loss)
    assert [model.name for model in models] == ["s1", "s0"]
    (metric,) = models[0].metrics
    assert (metric.key, metric.value, metric.dataset_name) == ("test_mse", 0.25, "d test")
    mlflow.set_tracking_uri(store_uri)
    loaded = mlflow.pytorch.load_model(models[0].model_uri)
    assert isinstance(loaded, torch.nn.Module)
    own = TrainedNetwork(describe(NETWORK, SETTINGS), weights)
    x = torch.randn(3, 6, 2)
    torch.testing.assert_close(loaded(x), own(x))
    history = client.get_metric_history(models[0].source_run_id, "test_mse")
    assert [point.value for point in history] == [0.25]


@pytest.mark.slow
def test_a_run_keeps_one_model_the_last(store_uri, tmp_path):
    recorder = Recorder(tmp_path / "records")
    recorder.start(RunStart("s", "s", "study", tags={"task": "adding"}))
    client = mlflow.MlflowClient(store_uri)
    mlflow.set_tracking_uri(store_uri)
    ids = []
    # The last is that of a setting with other values of the search and the weights of before.
    for trial, seed in (("3", 0), ("5", 1), ("5", 1), ("6", 1)):
        weights = write_drawn(tmp_path / "model", seed=seed)
        recorder.attach_model("s", tmp_path / "model", name="s", tags={"trial_number": trial})
        settings = TrackingSettings(store_uri, "dmu_search")
        assert not sync_records(tmp_path / "records", settings, output_dir=tmp_path)
        experiment = client.get_experiment_by_name("dmu_search-adding").experiment_id
        (model,) = client.search_logged_models([experiment])
        assert model.tags["trial_number"] == trial
        loaded = mlflow.pytorch.load_model(model.model_uri)
        x = torch.randn(3, 6, 2)
        own = TrainedNetwork(describe(NETWORK, SETTINGS), weights)
        torch.testing.assert_close(loaded(x), own(x))
        ids.append(model.model_id)
    assert [ids.index(each) for each in ids] == [0, 1, 1, 3]
