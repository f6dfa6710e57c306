"""The views that an experiment opens with, in a real Chromium on a real server."""

import json

import pytest
from mlflow import MlflowClient

from dmu_search.config.settings import TrackingSettings
from dmu_search.records import Recorder, RunStart
from dmu_search.tracking import open_tracking, sync_records
from dmu_search.tracking.views import view_tags
from tests.browser import browser_page

SEARCHED = ["training.learning_rate", "training.batch_size"]


def write_study(recorder):
    tags = {"task": "adding", "study": "s", "model": "dmu", "depth": "2", "objective": "val_mse"}
    recorder.start(
        RunStart("s", "a study", "study", tags={**tags, "searched": json.dumps(SEARCHED)})
    )
    for number in range(4):
        name = f"s.{number:04d}"
        params = {"training.learning_rate": 0.1 / (number + 1), "training.batch_size": 4}
        recorder.start(RunStart(name, f"child {number}", "trial", "s", params, tags))
        for epoch in (1, 2, 3):
            loss = 1.0 / epoch + number
            values = {"objective": loss, "val_mse": loss, "best_val_mse": loss}
            recorder.log(name, values, step=epoch)
        recorder.tag(name, {"outcome": "finished"})
        recorder.end(name, "FINISHED")
    recorder.end("s", "FINISHED")


def test_views_fit_into_tags_of_mlflow():
    many = [f"training.key_{number}" for number in range(60)]
    tags = view_tags("val_mse", "minimize", columns=many, axes=many)
    assert all(len(value) < 20_000 for value in tags.values())
    assert all("metrics.`objective`" in json.loads(value)["orderByKey"] for value in tags.values())


def test_keys_of_earlier_studies_keep_their_columns(store_uri, tmp_path):
    tags = {"task": "adding", "objective": "val_mse"}
    recorder = Recorder(tmp_path / "records")
    for name, searched in (("s1", SEARCHED), ("s2", ["network.z_bias"])):
        recorder.start(
            RunStart(name, name, "study", tags={**tags, "searched": json.dumps(searched)})
        )
    settings = TrackingSettings(store_uri, "dmu_search")
    sync_records(tmp_path / "records", settings, output_dir=tmp_path)
    experiment = MlflowClient(store_uri).get_experiment_by_name("dmu_search-adding")
    view = json.loads(experiment.tags["mlflow.sharedViewState.dmu_search_table"])
    for name in (*SEARCHED, "network.z_bias"):
        assert f"params.`{name}`" in view["selectedColumns"]


@pytest.mark.slow
def test_both_links_open_in_a_browser(server, tmp_path):
    address = server.address
    with open_tracking(TrackingSettings(address, "dmu_search"), tmp_path) as tracking:
        tracking.begin()
        write_study(tracking.recorder)
        assert tracking.settle() is None
        views = tracking.views("adding")
    with browser_page() as page:
        page.goto(f"{address}{views['all trials']}")
        page.wait_for_selector("text=child 0")
        for column in ("objective", *SEARCHED, "outcome", "depth"):
            page.wait_for_selector(f"[role=columnheader]:has-text('{column}')", state="attached")
        text = page.evaluate("document.body.innerText")
        assert text.index("child 0") < text.index("child 3")
        page.goto("about:blank")
        page.goto(f"{address}{views['charts']}")
        # MLflow calls a chart by its metric, whatever its title.
        for title in ("best_val_mse", "Parallel Coordinates"):
            page.wait_for_selector(f"text={title}", state="attached")
