import csv
from pathlib import Path

import pytest
import search
import simulation.runs
from simulation.runs import Plan, ResultFile, carry_out_all

from dmu_search.errors import ConfigError
from tests.benchmarks.toy import Toy


@pytest.fixture(autouse=True)
def toy_problem(monkeypatch):
    monkeypatch.setattr(simulation.runs, "problem_of", lambda task, lcbench: Toy())
    monkeypatch.setattr(search, "problem_of", lambda task, lcbench: Toy())


def plan(contender="random", seed=0, *, workers=2, budget=3.0, prior="none"):
    return Plan(contender, "toy", seed, workers, budget, prior, None)


def run(plans, path):
    heard = []
    carry_out_all(plans, ResultFile(path), jobs=1, on_result=heard.append)
    return heard


def rows(path):
    with path.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_a_row_per_improvement(tmp_path) -> None:
    file = tmp_path / "all.csv"
    (result,) = run([plan()], file)
    written = rows(file)
    assert list(written[0]) == ["contender", "task", "seed", "epochs", "time", "value"]
    assert [float(row["value"]) for row in written] == pytest.approx(
        [each.value for each in result.outcome.improvements]
    )
    values = [float(row["value"]) for row in written]
    assert values == sorted(values, reverse=True)
    (cost,) = rows(tmp_path / "all.costs.csv")
    assert (cost["epochs"], cost["workers"], cost["budget"]) == ("27", "2", "3")


def test_what_the_file_holds_is_not_run_again(tmp_path) -> None:
    file = tmp_path / "all.csv"
    run([plan()], file)
    before = file.read_text()
    heard = run([plan(), plan(seed=1), plan("random-asha")], file)
    assert [each.plan.key for each in heard] == [
        ("random", "toy", "1"),
        ("random-asha", "toy", "0"),
    ]
    assert file.read_text().startswith(before)


def test_a_search_that_was_cut_off_is_run_again(tmp_path) -> None:
    file, costs = tmp_path / "all.csv", tmp_path / "all.costs.csv"
    run([plan(), plan(seed=1)], file)
    whole = rows(file)
    # Killed after the rows of the second search, in the middle of its costs.
    costs.write_text(costs.read_text()[:-8])
    assert [each.plan.seed for each in run([plan(), plan(seed=1)], file)] == [1]
    assert rows(file) == whole
    # Killed in the middle of a row.
    file.write_text(file.read_text() + "random,toy,2,1,1.0")
    assert [each.plan.seed for each in run([plan(seed=seed) for seed in range(3)], file)] == [2]
    assert len({tuple(row.values()) for row in rows(file)}) == len(rows(file))


def test_a_file_is_of_one_cluster(tmp_path) -> None:
    file = tmp_path / "all.csv"
    run([plan()], file)
    with pytest.raises(ConfigError, match=r"holds searches with --workers 2 --budget 3; use the"):
        run([plan(seed=1, workers=4)], file)


def test_a_prior_names_the_product_only() -> None:
    assert plan("ours", prior="good").label == "ours+good"
    assert plan("random-asha", prior="good").label == "random-asha"
    assert plan("ours").label == "ours"


def test_the_command(tmp_path, capsys) -> None:
    file = tmp_path / "all.csv"
    words = ["--table", "toy", "--seeds", "2", "--budget", "2", "--jobs", "1", "--csv", str(file)]
    assert search.main([*words, "--contenders", "random,ours"]) == 0
    assert [(row["contender"], row["seed"]) for row in rows(tmp_path / "all.costs.csv")] == [
        ("random", "0"),
        ("ours", "0"),
        ("random", "1"),
        ("ours", "1"),
    ]
    assert "ours toy seed 1: " in capsys.readouterr().out
    assert search.main([*words, "--contenders", "nobody"]) == 2
    assert "--contenders nobody: no such contender" in capsys.readouterr().err


def test_the_default_tasks_of_lcbench_are_those_of_development() -> None:
    words = search._parser().parse_args(["--lcbench", "folder", "--csv", "x.csv"])
    plans = search.plans_of(words)
    assert len(plans) == 30 * 20 * 6
    assert plans[0].lcbench == Path("folder")
    assert (plans[0].workers, plans[0].budget) == (4, 25)
