"""How long MLflow's pages of studies with very many trials take to open, and their own pages.

    python benchmarks/mlflow_pages.py OUTPUT_DIR [--trials 50 500 5000] [--pictures FOLDER]

Fills a store with a study of each size, whose results are invented and go the way of a search's:
journal, records, MLflow. A study that OUTPUT_DIR has already is used again. Then serves the store
by ``mlflow/serve`` and opens its pages in Chromium, again and again; printed are medians. The
smallest study says what a page costs by itself on this machine at this moment. Needs playwright and
Chromium.
"""

import argparse
import json
import math
import os
import random
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from screenshots import PATIENCE_MS, answering, free_port

from dmu_search.config.grammar import parse_overrides
from dmu_search.config.settings import TrackingSettings
from dmu_search.data.loading import described_splits, load_data
from dmu_search.records import RunStart
from dmu_search.report.page_process import NOTE_FILE, PAGE_FILE, PLOTS, PageProcess
from dmu_search.report.study_page import SINGLE, write_study_page
from dmu_search.study.files import Study, create_studies, find_studies, studies_folder
from dmu_search.study.journal import Journal
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.settings import studies_of
from dmu_search.study.trials import Report
from dmu_search.tracking import open_tracking
from dmu_search.tracking.mlflow_runs import MlflowRuns
from dmu_search.tracking.origin import origin_tags
from dmu_search.tracking.trial_runs import TrialRuns

SETTLED_WITHIN_S = 3600.0
EPOCHS = 27
# Curves that look alike are one path with gaps; those of one point are dots.
CURVES = """
[...document.querySelectorAll("#learning_curves .scatterlayer path.js-line")]
  .reduce((count, path) => count + path.getAttribute("d").split("M").length - 1, 0)
  + document.querySelectorAll("#learning_curves .scatterlayer path.point").length
"""


@dataclass(frozen=True)
class Shown:
    """A page, and how to tell that it shows what it is for.

    Attributes:
        name: of the page.
        address: of it.
        wait_for: what is there then.
    """

    name: str
    address: str
    wait_for: str


def main() -> None:
    """Print a row for each study and page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 500, 5000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each page")
    given = parser.parse_args()
    studies = [filled(given.output_dir, trials) for trials in given.trials]
    print("| trials | page | load | seconds, median | fastest | slowest |", flush=True)
    with served(given.output_dir) as server, chromium() as page:
        for study in studies:
            write_page(study)
            for shown in pages_of(study, server):
                measure(page, study, shown, rounds=given.rounds, pictures=given.pictures)
            print(f"curves drawn in {study.name}: {page.evaluate(CURVES)}")


def filled(output_dir: Path, trials: int) -> Study:
    """A study with so many trials, in the store; made where it is missing."""
    name = f"adding-{trials}"
    if (studies_folder(output_dir) / name).exists():
        (study,) = find_studies(output_dir, name, given={})
        return study
    words = ["task=adding", f"training.max_epochs={EPOCHS}", f"search.trials={trials}"]
    words += [f"output_dir={output_dir}", "search.sampler=random", "search.scheduler=asha"]
    (study,) = create_studies(studies_of(parse_overrides("tune", words)), name)
    began = time.monotonic()
    with open_tracking(TrackingSettings(None, "dmu_search"), output_dir) as tracking:
        tracking.begin()
        recorder = tracking.recorder
        recorder.start(start_of(study))
        best = search(study, TrialRuns(study, recorder, **whence(study)))
        recorder.summarise(name, {"objective": best})
        page = PageProcess(study, recorder)
        fault = page.finish()
        recorder.end(name, "FINISHED")
        unsent = tracking.settle(SETTLED_WITHIN_S)
        if fault or unsent:
            raise SystemExit(f"{name}: {fault} {unsent}")
    print(f"{name}: in MLflow after {time.monotonic() - began:.0f} s", flush=True)
    return study


def whence(study: Study) -> dict[str, object]:
    """Origin and data, as a search has them."""
    settings = study.settings
    data = load_data(settings.task, settings.data)
    datasets = described_splits(settings.task, settings.data, data=data)
    return {"origin": origin_tags(), "datasets": datasets}


def start_of(study: Study) -> RunStart:
    """The study's own run."""
    settings = study.settings
    searched = json.dumps(list(settings.space))
    tags = {"study": study.name, "task": settings.task, "model": settings.model}
    tags |= {"depth": str(settings.depth), "objective": "val_mse", "searched": searched}
    return RunStart(study.name, study.name, "study", tags={**tags, "everywhere": searched})


def search(study: Study, runs: TrialRuns) -> float:
    """Try settings whose results are invented, stopped as in any search; returns the best one."""
    journal = Journal(study.journal)
    search = SearchStudy.of(study.settings, events=study.events(), append=journal.append)
    search.follow = runs.follow
    chance = random.Random(0)
    while (assignment := search.next()) is not None:
        trial = search.trials[assignment.number]
        runs.begin(trial)
        rate = math.log10(float(assignment.values["training.learning_rate"]))
        level = 1e-3 + 0.01 * (rate + 2.5) ** 2 * chance.uniform(0.5, 2.0)
        for epoch in range(1, EPOCHS + 1):
            loss = level + 0.2 * math.exp(-epoch / 4) * chance.uniform(0.9, 1.0)
            names = ("objective", "running_train_mse", "val_mse", "best_val_mse")
            metrics = {**dict.fromkeys(names, loss), "best_epoch": epoch, "epoch_wall_time_s": 0.5}
            last = {"train_mse": loss, "best_val_mse": loss, "test_mse": loss}
            over = epoch == EPOCHS
            report = Report(epoch, loss, metrics, over, last if over else None)
            if not search.report(trial.number, report):
                break
    journal.close()
    assert search.best is not None, "a search has a best trial"
    return search.best.objectives[EPOCHS]


def write_page(study: Study) -> None:
    """Write the study's own page, and say how long that takes and how large it is."""
    began = time.process_time(), time.monotonic()
    write_study_page(study, final=True)
    cpu, wall = time.process_time() - began[0], time.monotonic() - began[1]
    sizes = {PAGE_FILE: (study.folder / PAGE_FILE).stat().st_size}
    for name in (PLOTS, SINGLE):
        sizes[name] = sum(path.stat().st_size for path in (study.folder / name).iterdir())
    said = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items())
    note = len((study.folder / NOTE_FILE).read_text(encoding="utf-8"))
    print(
        f"{study.name}: page made in {wall:.1f} s ({cpu:.1f} s of CPU), {said}, description {note} "
        "characters",
        flush=True,
    )


def pages_of(study: Study, server: str) -> list[Shown]:
    """Those that a user opens after a search, the study's own last."""
    output_dir = study.settings.output_dir
    uri = f"sqlite:///{(output_dir / 'mlflow.db').resolve()}"
    runs = MlflowRuns(uri, "dmu_search", artifact_root=output_dir)
    views = runs.views(study.settings.task)
    own = (study.folder / PAGE_FILE).resolve().as_uri()
    return [
        Shown("study", f"{server}{runs.page(study.name)}", "text=/Trial \\d+ won/"),
        Shown("all trials", f"{server}{views['all trials']}", f"text={study.name}"),
        Shown("charts", f"{server}{views['charts']}", ".js-plotly-plot .main-svg"),
        Shown(PAGE_FILE, own, "#rungs .main-svg"),
    ]


def measure(page: Page, study: Study, shown: Shown, *, rounds: int, pictures: Path | None) -> None:
    """Open a page so many times, after once that does not count; print the seconds it takes."""
    found = []
    for count in range(rounds + 1):
        page.goto("about:blank")
        began = time.monotonic()
        page.goto(shown.address, wait_until="commit")
        page.wait_for_selector(shown.wait_for, state="attached")
        if count:
            found.append(time.monotonic() - began)
    spread = f"{statistics.median(found):.1f} | {min(found):.1f} | {max(found):.1f}"
    load = f"{os.getloadavg()[0]:.1f}"
    print(f"| {study.settings.search.trials} | {shown.name} | {load} | {spread} |", flush=True)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(5000)
        page.screenshot(path=pictures / f"{study.name} {shown.name}.png")


@contextmanager
def chromium() -> Iterator[Page]:
    """A page of a browser."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1700, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script("localStorage.setItem('mlflow.assistant.panelOpen', 'false')")
        yield page
        browser.close()


@contextmanager
def served(output_dir: Path) -> Iterator[str]:
    """The address of a server of the store, as a user starts it."""
    port = free_port()
    serve = Path(__file__).parents[1] / "mlflow" / "serve"
    with answering([serve, output_dir, str(port)], port) as address:
        yield address


if __name__ == "__main__":
    main()
