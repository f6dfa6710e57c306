import csv
import math

import numpy as np
import pytest
import search_report
from simulation.measures import bootstrapped, interquartile_mean, read_benchmark
from simulation.runs import COLUMNS, COST_COLUMNS

from dmu_search.errors import ConfigError
from tests.benchmarks.toy import Toy


class Ten(Toy):
    """Ten epochs are a training; the best loss is 0."""

    max_epochs = 10

    def best_known(self):
        return 0.0


# Contender, seed and improvements: epochs, time, value.
SEARCHES = {
    ("random-asha", 0): [(1, 1, 8.0), (10, 10, 4.0), (20, 20, 2.0)],
    ("random-asha", 1): [(1, 1, 8.0), (15, 30, 3.0)],
    ("ours", 0): [(2, 1, 2.0), (16, 8, 1.0)],
    ("ours", 1): [(5, 5, 6.0), (40, 40, 5.0)],
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "all.csv"
    with path.open("w", newline="") as rows, (tmp_path / "all.costs.csv").open("w") as costs:
        improvements, ends = csv.writer(rows), csv.writer(costs)
        improvements.writerow(COLUMNS)
        ends.writerow(COST_COLUMNS)
        for (contender, seed), entries in SEARCHES.items():
            for entry in entries:
                improvements.writerow([contender, "toy", seed, *entry])
            end = 50 if contender == "ours" else 40
            ends.writerow([contender, "toy", seed, 4, 4, 40, end, 9, 1.5])
    return path


def test_regret_is_one_where_the_baseline_is_after_one_training(file) -> None:
    benchmark = read_benchmark([file], lambda task: Ten())
    # The baseline's mean after 10 epochs: (4 + 8) / 2; the best is 0.
    assert benchmark.reference("toy") == 6.0
    assert benchmark.points == (1, 2, 4)
    baseline = np.array([[[4, 2, 2], [8, 3, 3]]]) / 6
    assert benchmark.regrets("random-asha") == pytest.approx(baseline)
    ours = np.array([[[2, 1, 1], [6, 6, 5]]]) / 6
    assert benchmark.regrets("ours") == pytest.approx(ours)


def test_by_time_a_training_is_that_share_of_the_baselines_time(file) -> None:
    benchmark = read_benchmark([file], lambda task: Ten())
    # 10, 20 and 40 seconds.
    baseline = np.array([[[4, 2, 2], [8, 8, 3]]]) / 6
    assert benchmark.regrets("random-asha", by_time=True) == pytest.approx(baseline)


def test_the_share_at_which_the_baselines_final_loss_is_reached(file) -> None:
    benchmark = read_benchmark([file], lambda task: Ten())
    assert benchmark.shares_to_reach("ours").tolist() == [[2 / 40, math.inf]]
    assert benchmark.shares_to_reach("random-asha").tolist() == [[20 / 40, 15 / 40]]


def test_wins_and_ranks(file) -> None:
    benchmark = read_benchmark([file], lambda task: Ten())
    assert benchmark.wins("ours") == {"toy": (1, 1)}
    assert benchmark.ranks()["ours"].tolist() == [1.0, 1.5, 1.5]
    assert benchmark.ranks()["random-asha"].tolist() == [2.0, 1.5, 1.5]


def test_losses_below_the_best_known_become_it(file) -> None:
    class Known(Ten):
        def best_known(self):
            return 1.5

    assert read_benchmark([file], lambda task: Known()).best == {"toy": 1.0}


def test_orders_of_magnitude_are_compared_on_a_log_scale(file) -> None:
    class Log(Ten):
        scale = "log"

        def best_known(self):
            return 1.0

    benchmark = read_benchmark([file], lambda task: Log())
    reference = (math.log(4) + math.log(8)) / 2
    assert benchmark.regrets("ours")[0, 0, 0] == pytest.approx(math.log(2) / reference)


def test_the_middle_half_is_averaged_and_the_bootstrap_stays_within_tasks() -> None:
    assert interquartile_mean(np.array([[0.0, 1.0], [2.0, 100.0]])) == 1.5
    constant_tasks = np.array([[1.0] * 5, [3.0] * 5])
    estimate = bootstrapped(constant_tasks, lambda values: float(values.mean()))
    assert (estimate.value, estimate.low, estimate.high) == (2.0, 2.0, 2.0)
    spread = bootstrapped(np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]))
    assert spread.low < spread.value < spread.high


def test_files_of_other_clusters_and_without_the_baseline_are_refused(file, tmp_path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(file.read_text())
    costs = (tmp_path / "all.costs.csv").read_text()
    (tmp_path / "other.costs.csv").write_text(costs.replace(",4,4,", ",8,4,"))
    with pytest.raises(ConfigError, match="must hold searches of one --workers and --budget"):
        read_benchmark([file, other], lambda task: Ten())
    for path in (file, tmp_path / "all.costs.csv"):
        path.write_text(path.read_text().replace("random-asha", "random"))
    with pytest.raises(ConfigError, match="has no searches of random-asha"):
        read_benchmark([file], lambda task: Ten())


def test_the_report(file, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(search_report, "problem_of", lambda task, lcbench: Ten())
    monkeypatch.setattr(search_report, "IMAGES", tmp_path)
    assert search_report.main([str(file), "--plots", "toy"]) == 0
    printed = capsys.readouterr().out
    assert "1 tasks, 2 seeds, 4 workers, 4 full trainings." in printed
    assert "|  | 1 | 2 | 4 |" in printed
    assert "| ours | 50% | never | 1.20 | 1 / 1 | 1.5 |" in printed
    assert "| toy | 0.42 | 0.50 (1/1) |" in printed
    assert "<svg" in (tmp_path / "toy.svg").read_text()
    assert search_report.main([str(tmp_path / "none.csv")]) == 2
    assert "no such file" in capsys.readouterr().err
