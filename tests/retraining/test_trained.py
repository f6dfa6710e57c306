"""From a file to the network that its study trained."""

import pytest
import torch

from dmu_search.engine.networks.module import describe
from dmu_search.engine.tasks.polymusic import PolyMusic
from dmu_search.errors import ConfigError
from dmu_search.retraining.exported import write_run_file
from dmu_search.retraining.trained import trained_network
from dmu_search.tracking.models import write_model
from tests.studies import plan_studies


def exported(path, run, *, study):
    write_run_file(path, run, provenance={"study": study})
    return path


def kept(folder, run, *, seed):
    """The model that a study keeps; returns a weight of it."""
    network = PolyMusic.network(run.network)
    drawn = network.initialise([torch.Generator().manual_seed(seed)])
    weights = {name: weight[0] for name, weight in drawn.items()}
    write_model(folder / "model", describe(network, run.network), weights=weights)
    return weights["readout_1.weight"]


@pytest.fixture
def run():
    (study,) = plan_studies(["data.corpus=demo", "network.widths=[3]"])
    return study.example()


def test_a_study_is_found_from_its_own_file_and_from_the_best_settings(tmp_path, run):
    study = tmp_path / "runs" / "studies" / "s1"
    own = exported(study / "best.yaml", run, study="s1")
    best = exported(tmp_path / "runs/best/polymusic/demo-1/dmu-d1.yaml", run, study="s1")
    weight = kept(study, run, seed=4)
    for path in (own, best):
        network, folder = trained_network(path, tmp_path / "elsewhere")
        assert folder == study / "model"
        assert torch.equal(network.weights["readout_1.weight"][0], weight)


def test_a_study_that_has_come_to_another_setting_is_not_taken(tmp_path, run):
    study = tmp_path / "runs" / "studies" / "s1"
    exported(study / "best.yaml", run, study="s1")
    kept(study, run, seed=4)
    (other,) = plan_studies(["data.corpus=demo", "network.widths=[3]", "training.gamma=0.5"])
    best = exported(tmp_path / "runs/best/polymusic/x.yaml", other.example(), study="s1")
    with pytest.raises(ConfigError, match=r"no weights of this setting .* train config=.*x\.yaml"):
        trained_network(best, tmp_path / "runs")


@pytest.mark.parametrize("study", ["../s1", "", "/etc"])
def test_a_name_that_leads_elsewhere_leads_nowhere(tmp_path, run, study):
    path = exported(tmp_path / "mine.yaml", run, study=study)
    with pytest.raises(ConfigError, match="no weights"):
        trained_network(path, tmp_path / "runs")
