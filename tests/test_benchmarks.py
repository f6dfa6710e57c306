"""The scripts that measure, without measuring anything."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[1]


def gpu_benchmark(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "gpu.py"), *words]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_benchmark_without_a_gpu_says_so() -> None:
    done = gpu_benchmark()
    assert done.returncode == 2
    assert done.stdout.startswith("There is no GPU that torch")
    assert done.stdout.count("\n") == 1


@pytest.mark.slow
def test_the_gpu_benchmark_finds_both_ways_to_train_equal(tmp_path: Path) -> None:
    file = tmp_path / "gpu.csv"
    done = gpu_benchmark("--smoke", "--csv", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["how"] for row in rows] == ["plain", "graphs"] * 8
    assert all(float(row["loss_difference"]) < 1e-4 for row in rows)
