import math

import pytest

from dmu_search.config.keys import OBJECTIVES
from dmu_search.on_ray.objective import objective_over_replicas

NAN = math.nan


@pytest.mark.parametrize(
    ("best", "mean", "median", "worst"),
    [
        ((1.0, 2.0, 6.0), 3.0, 2.0, 6.0),
        ((4.0, 1.0), 2.5, 2.5, 4.0),
        # A replica that never had a finite epoch is infinitely bad.
        ((1.0, NAN, 2.0), NAN, 2.0, NAN),
        ((1.0, NAN), NAN, NAN, NAN),
        ((NAN, 3.0, NAN), NAN, NAN, NAN),
        ((NAN, NAN), NAN, NAN, NAN),
    ],
)
def test_rules(best, mean, median, worst):
    got = [objective_over_replicas(rule, best, direction="minimize") for rule in OBJECTIVES]
    assert got == pytest.approx([mean, median, worst], nan_ok=True)


def test_where_large_is_good_the_worst_is_the_smallest():
    got = [
        objective_over_replicas(rule, (0.1, 0.4, 0.7), direction="maximize") for rule in OBJECTIVES
    ]
    assert got == pytest.approx([0.4, 0.4, 0.1])
    assert (
        objective_over_replicas("median_over_replicas", (0.1, NAN, 0.7), direction="maximize")
        == 0.1
    )


@pytest.mark.parametrize("rule", OBJECTIVES)
def test_of_one_replica_all_rules_give_the_same(rule):
    assert objective_over_replicas(rule, (3.25,), direction="minimize") == 3.25
    assert math.isnan(objective_over_replicas(rule, (NAN,), direction="minimize"))
