"""Numbers of docs/reproducing.md and docs/search.md are those of the records."""

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dmu_search.paper.table_cells import find_cell
from dmu_search.report.cell_runs import runs_of_cell
from dmu_search.results.compact import read_compact

REPOSITORY = Path(__file__).resolve().parents[1]
RECORDS = REPOSITORY / "docs/results"


def rows(text, place):
    """The cells of the lines of a table whose first cell is a name: name -> the others."""
    lines = re.findall(rf"^\| ({place}-\d/\S+) \| (.*) \|$", text, re.MULTILINE)
    return {name: tuple(rest.split(" | ")) for name, rest in lines}


@pytest.mark.slow
def test_the_expected_numbers_are_those_of_the_records():
    text = (REPOSITORY / "docs/reproducing.md").read_text(encoding="utf-8")
    runs = read_compact(RECORDS)

    def sample(name):
        (found,) = runs_of_cell(find_cell(name), runs, output_dir=RECORDS)
        return found.sample

    tables, figures = rows(text, "table"), rows(text, "figure")
    assert len(tables) == 9
    assert len(figures) == 12
    for name, said in tables.items():
        values = np.array(sample(name).objective("test"))
        logs, count = np.log(values), len(values)
        half = stats.t.ppf(0.995, count - 1) * logs.std(ddof=1) * math.sqrt(1 + 1 / count)
        low, high = np.exp([logs.mean() - half, logs.mean() + half])
        spread = f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
        assert said == (str(count), spread, f"{low:.3f} to {high:.3f}"), name
    for name, said in figures.items():
        curves = [each.curve for each in sample(name).replicas]
        assert said == tuple(counts(curves, below) for below in (1e-2, 1e-4, 1e-6)), name


def counts(curves, threshold):
    """Runs that fall below a threshold, and how many of further runs are alike."""
    count = sum(min(curve) < threshold for curve in curves)
    alike = [
        other
        for other in range(len(curves) + 1)
        if stats.fisher_exact([[count, len(curves) - count], [other, len(curves) - other]]).pvalue
        >= 0.01
    ]
    return f"{count} ({alike[0]} to {alike[-1]})"


@pytest.mark.parametrize("model", ["dmu", "rhn"])
def test_the_search_of_the_shipped_space_is_the_recorded_one(model):
    text = (REPOSITORY / "docs/search.md").read_text(encoding="utf-8")
    with (RECORDS / "searches.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    trials = [line for line in lines if line["model"] == model]
    assert len({line["study"] for line in trials}) == 1
    assert len(trials) == 60
    words = " ".join(text.split())
    assert f"{sum(int(line['epochs']) for line in trials)} epochs in all" in words
    finished = sorted(
        (line for line in trials if line["status"] == "finished"),
        key=lambda line: float(line["objective"]),
    )
    assert len([line for line in finished if not line["source"]]) == 8
    assert finished[0]["winner"] == "yes"
    for line in (*finished[:2], *(line for line in finished if line["source"])):
        assert f"| {float(line['objective']):.3f} |" in text
        if line["fresh"]:
            fresh = np.array(line["fresh"].split(), dtype=float)
            assert f"| {fresh.mean():.3f} ± " in text
