"""The best settings that come with the package: what a file says of itself is true."""

from pathlib import Path

import pytest

from dmu_search.config.roots import configuration_root
from dmu_search.paper.published import published
from dmu_search.retraining.exported import read_run_file

ROOT = configuration_root() / "best"
FILES = sorted(file.relative_to(ROOT) for file in ROOT.rglob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_shipped_setting_trains_the_papers_network_on_the_papers_data(file: Path):
    best = read_run_file(ROOT / file)
    run = best.run({}, {})
    assert file == Path(run.task, f"{run.model}-d{run.depth}.yaml")
    record = published(run.task)
    widths = [record.widths[each].get(run.model, {}).get(run.depth) for each in record.widths]
    assert run.network.widths in widths
    assert {"study", "trial", "mlflow_run", "objective"} <= best.provenance.keys()
    if run.task == "polymusic":
        assert (run.data.corpus, run.data.limit) == (record.data, None)
