"""Pictures of MLflow's pages and of a study's own, as docs/images has them.

    python benchmarks/screenshots.py OUTPUT_DIR [docs/images]

OUTPUT_DIR holds a store with a study, as `tune` leaves it. Needs playwright and Chromium.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from mlflow import MlflowClient
from playwright.sync_api import Page, sync_playwright

from dmu_search.tracking.mlflow_runs import MlflowRuns

PATIENCE_MS = 240_000


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(store: Path) -> Iterator[str]:
    """The address of a server of the store."""
    port = free_port()
    words = ["mlflow", "server", "--backend-store-uri", f"sqlite:///{store.resolve()}"]
    with answering([sys.executable, "-m", *words, "--port", str(port), "--workers", "1"], port) as (
        address
    ):
        yield address


@contextmanager
def answering(command: Sequence[str | Path], port: int) -> Iterator[str]:
    """The address of the server that a command starts, once it answers."""
    server = subprocess.Popen(
        command,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urlopen(f"{address}/health").close()
                break
            except URLError:
                if server.poll() is not None:
                    raise
                time.sleep(1.0)
        yield address
    finally:
        server.terminate()
        server.wait()


def take(page: Page, address: str, path: Path, *, wait_for: str, full: bool = False) -> None:
    """One picture, once ``wait_for`` is there and its neighbours have had time too."""
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(wait_for)
    page.wait_for_timeout(8000)
    page.screenshot(path=path, full_page=full)
    print(path)


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("images", type=Path, nargs="?", default=Path("docs/images"))
    given = parser.parse_args()
    given.images.mkdir(parents=True, exist_ok=True)
    store = given.output_dir / "mlflow.db"
    client = MlflowClient(f"sqlite:///{store.resolve()}")
    experiments = [e for e in client.search_experiments() if e.name.startswith("dmu_search-")]
    ids = [experiment.experiment_id for experiment in experiments]
    (study,) = client.search_runs(ids, "tags.`dmu_search.kind` = 'study'", max_results=1)
    best = study.data.tags["best_run"]
    name, task = study.data.tags["study"], study.data.tags["task"]
    runs = MlflowRuns(client.tracking_uri, "dmu_search", artifact_root=given.output_dir)
    views = runs.views(task)
    (model,) = client.search_logged_models(
        ids, f"source_run_id = '{study.info.run_id}'", max_results=1
    )[:1]
    models = f"/#/experiments/{study.info.experiment_id}/models/{model.model_id}"
    with served(store) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1700, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script("localStorage.setItem('mlflow.assistant.panelOpen', 'false')")
        shots = {
            "experiment": (views["all trials"], "text=objective"),
            "charts": (views["charts"], "text=best_so_far"),
            "parent": (runs.page(name), "text=won"),
            "child": (runs.page(best), "text=unsearched"),
            "model": (models, "text=test_"),
        }
        for shot, (address, wait_for) in shots.items():
            take(page, f"{server}{address}", given.images / f"{shot}.png", wait_for=wait_for)
        own = (given.output_dir / "studies" / name / "study.html").resolve().as_uri()
        page.set_viewport_size({"width": 1100, "height": 900})
        take(page, own, given.images / "study.png", wait_for="#rungs .main-svg", full=True)
        browser.close()


if __name__ == "__main__":
    main()
