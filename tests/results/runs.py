"""Recorded trainings as tests need them, without the training."""

import math
from dataclasses import replace
from pathlib import Path

from dmu_search.config.settings import RunSettings
from dmu_search.results.trainings import RecordedRun, Replica
from dmu_search.retraining.sources import sourced

NOWHERE = Path("/nowhere")


def paper_run(task="polymusic", model="dmu", depth=1, source="paper", **given) -> RunSettings:
    found = sourced(source, task, model=model, depth=depth, output_dir=NOWHERE, given=given)
    assert found is not None
    return found.run


def recorded(
    run: RunSettings,
    tests=(),
    *,
    run_id="a-run",
    first_seed=0,
    epochs=500,
    status="FINISHED",
    curves=None,
    metric="nll_nats",
    sha256="0" * 64,
) -> RecordedRun:
    """A training of ``run`` with a replica for each test result; the training result is 1 less."""
    curves = curves if curves is not None else [(5.0, 4.0)] * len(tests)
    metrics = [
        {f"train_{metric}": test - 1, f"val_{metric}": test, f"test_{metric}": test}
        for test in tests
    ] or [{}] * len(curves)
    training = replace(run.training, max_epochs=epochs, replicas=len(curves), seed=first_seed)
    replicas = tuple(
        Replica(first_seed + index, 1, own, tuple(curve))
        for index, (own, curve) in enumerate(zip(metrics, curves, strict=True))
    )
    return RecordedRun(
        run_id=run_id,
        run=replace(run, training=training),
        data_sha256=sha256,
        data_name="nottingham",
        status=status,
        epochs=len(curves[0]),
        seconds=1.5,
        replicas=replicas,
    )


DIVERGED = (5.0, math.nan)
