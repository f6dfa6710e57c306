import shutil
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from dmu_search.config.settings import ResourceSettings
from dmu_search.data.loading import load_data
from dmu_search.folders import OutputFolder
from dmu_search.on_ray.resources import TrialShare
from dmu_search.on_ray.search import run_study
from dmu_search.on_ray.session import ray_session
from dmu_search.records import RunStart
from dmu_search.study.files import create_studies
from dmu_search.tracking import open_tracking, sync_records
from dmu_search.tracking.mlflow_runs import MlflowRuns
from tests.studies import plan_studies

RESOURCES = ResourceSettings(
    gpus_per_trial="auto",
    cpus_per_trial="auto",
    cpus=2,
    gpus=None,
    object_store_mb=100,
    address=None,
)
SHORT = ("training.max_epochs=3", "search.startup_trials=2", "search.checkpoint_every_s=0")
SMALL = ("task=polymusic", "data.corpus=demo", "data.limit=4", "network.widths=[8]", *SHORT)
SMALL_ADDING = ("task=adding", "data.length=12", "data.batches_per_epoch=2", *SHORT)


@pytest.fixture(scope="session")
def cluster():
    """A real Ray on two logical cores, one for all tests."""
    with ray_session(RESOURCES) as found:
        yield found


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    MlflowRuns(
        f"sqlite:///{folder / 'mlflow.db'}", "dmu_search", artifact_root=folder / "mlartifacts"
    )
    return folder / "mlflow.db"


class NoCorpus:
    """Data that nothing can be trained on."""

    name, sha256, sequences = "none", "0" * 64, {}


class Watching:
    """Keeps what it is told, and does something at one moment."""

    def __init__(self, then=None):
        self.told = []
        self.said = []
        self._then = then

    def update(self, trial):
        self.told.append(trial)
        if self._then is not None and self._then(trial):
            self._then = None

    def say(self, sentence):
        self.said.append(sentence)


class Bench:
    """Plans and runs small real studies in a folder of the test's own."""

    def __init__(self, folder, cache):
        self.folder = folder
        self.cache = cache

    def plan(self, *words, small=SMALL):
        words = [*small, *words, f"output_dir={self.folder}"]
        if "task=polymusic" in small:
            words.append(f"data.root={self.cache}")
        (settings,) = plan_studies(words)
        (study,) = create_studies([settings])
        return study

    def run(self, study, *, concurrent=1, watcher=None, data=None, trials=None):
        settings = study.settings
        if trials is not None:
            settings = replace(settings, search=replace(settings.search, trials=trials))
            study = replace(study, settings=settings)
        # Records alone, which then go into a store as `sync` brings them there: no process beside.
        tracking = open_tracking(replace(settings.tracking, uri="none"), settings.output_dir)
        tracking.recorder.start(RunStart(study.name, study.name, "study"))
        outcome = run_study(
            study,
            load_data(settings.task, settings.data) if data is None else data,
            share=TrialShare(cpus=1.0, gpus=0.0, concurrent=concurrent),
            tracking=tracking,
            watcher=watcher or Watching(),
            last_words=print,
        )
        self.sync(study)
        return outcome

    def sync(self, study):
        records = OutputFolder(self.folder).records
        assert not sync_records(records, study.settings.tracking, output_dir=self.folder)


def mlflow_runs(bench, study):
    """The client, the study's trials by number, and the runs that stand for it."""
    client = MlflowClient(f"sqlite:///{bench.folder / 'mlflow.db'}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    trials = {
        int(run.data.tags["trial_number"]): run
        for run in runs
        if run.data.tags.get("study") == study.name
    }
    return client, trials, [r for r in runs if r.data.tags["dmu_search.run_id"] == study.name]


@pytest.fixture
def bench(cluster, demo_store, empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Bench(tmp_path, demo_store.root)


@pytest.fixture(scope="module")
def shared_bench(cluster, demo_store, empty_store, tmp_path_factory):
    """For one study that several tests look at."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(empty_store, folder / "mlflow.db")
    return Bench(folder, demo_store.root)
