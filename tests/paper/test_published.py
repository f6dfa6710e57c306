"""The published record of every task is complete and refers to what there is."""

import pytest

from dmu_search.config.keys import KEYS
from dmu_search.names import MODELS
from dmu_search.paper.published import published
from tests.tables import IN_PAPER


@pytest.mark.parametrize("task", IN_PAPER)
def test_every_network_of_the_paper_has_its_printed_weight_count(task):
    record = published(task)
    networks = {(model, d) for model, depths in record.widths["paper"].items() for d in depths}
    printed = {(model, depth) for model, depths in record.weights.items() for depth in depths}
    assert printed == networks
    assert record.weights_of in ("network", "block")


@pytest.mark.parametrize("task", IN_PAPER)
def test_printed_keys_exist(task):
    printed = published(task).printed
    assert {"training.learning_rate", "training.max_epochs"} <= set(printed)
    assert all(KEYS[name].exists_for(task, "dmu") for name in printed)


@pytest.mark.parametrize("task", IN_PAPER)
def test_claims_are_about_models_and_depths_or_thresholds_that_there_are(task):
    record = published(task)
    levels = record.depths if record.figure is None else record.thresholds
    checks = [check for claim in record.claims for check in claim.checks]
    assert checks
    for check in checks:
        assert {check.model, *check.than} <= set(MODELS)
        assert set(check.at) <= set(levels)
        assert bool(check.than) == (check.kind in ("better", "similar", "steadier"))
