from dataclasses import replace

import pytest

from dmu_search.retraining.comparison import Result, why_not_better

OLD = Result(
    objective=3.5,
    rule="mean_over_replicas",
    replicas=1,
    epochs=10,
    data="nottingham",
    data_sha256="aaa",
)
THREE = replace(OLD, replicas=3)


@pytest.mark.parametrize(
    ("old", "changed", "reason"),
    [
        (OLD, {"objective": 3.4}, None),
        (OLD, {"objective": 3.5}, "has 3.5, at least as good"),
        (OLD, {"objective": 3.6}, "has 3.5, at least as good"),
        (OLD, {"objective": 3.4, "epochs": 11}, None),
        (OLD, {"objective": 3.4, "epochs": 9}, "had 10 epochs, more than 9"),
        (OLD, {"objective": 3.6, "epochs": 9}, "had 10 epochs, more than 9"),
        (
            OLD,
            {"objective": 1.0, "data_sha256": "bbb"},
            "was found on other data (nottingham); move it away first",
        ),
        # The name may be another where the data is the same.
        (OLD, {"objective": 3.4, "data": "Nottingham.mat"}, None),
        # Every rule gives the same of one replica.
        (OLD, {"objective": 3.4, "rule": "worst_replica"}, None),
        (
            THREE,
            {"objective": 3.4, "rule": "worst_replica"},
            "was chosen by mean_over_replicas; move it away first",
        ),
        (THREE, {"objective": 3.4, "replicas": 1}, None),
        (
            THREE,
            {"objective": 3.4, "replicas": 1, "rule": "worst_replica"},
            "was chosen by mean_over_replicas; move it away first",
        ),
        (OLD, {"objective": float("inf")}, "has 3.5, at least as good"),
    ],
)
def test_what_a_better_loss_is(old, changed, reason):
    assert why_not_better(replace(old, **changed), old, direction="minimize") == reason


@pytest.mark.parametrize(("objective", "better"), [(0.7, True), (0.6, False), (0.5, False)])
def test_a_better_accuracy_is_a_larger_one(objective, better):
    old = replace(OLD, objective=0.6)
    new = replace(OLD, objective=objective)
    assert (why_not_better(new, old, direction="maximize") is None) is better


def test_no_two_results_are_each_better_than_the_other():
    results = [
        Result(objective, rule, replicas, epochs, "d", sha256)
        for objective in (1.0, 2.0)
        for rule in ("mean_over_replicas", "worst_replica")
        for replicas in (1, 3)
        for epochs in (5, 10)
        for sha256 in ("a", "b")
    ]
    both = [
        (one, other)
        for one in results
        for other in results
        if why_not_better(one, other, direction="minimize") is None
        and why_not_better(other, one, direction="minimize") is None
    ]
    assert both == []


CONFIRMED = replace(OLD, mean=3.6)


@pytest.mark.parametrize(
    ("old", "changed", "reason"),
    [
        # Two means are compared, whatever single seeds gave.
        (CONFIRMED, {"objective": 9.0, "mean": 3.5}, None),
        (CONFIRMED, {"objective": 1.0, "mean": 3.6}, "has 3.6 over fresh seeds, at least as good"),
        (CONFIRMED, {"mean": 3.5, "rule": "worst_replica", "replicas": 3}, None),
        (CONFIRMED, {"mean": 3.5, "epochs": 9}, "had 10 epochs, more than 9"),
        # A mean is no match for a lucky seed: both searches' own results are compared.
        (CONFIRMED, {"objective": 3.4, "mean": None}, None),
        (OLD, {"objective": 3.4, "mean": 3.9}, None),
        (OLD, {"objective": 3.6, "mean": 3.4}, "has 3.5, at least as good"),
    ],
)
def test_means_over_fresh_seeds_are_compared_with_each_other_only(old, changed, reason):
    assert why_not_better(replace(old, **changed), old, direction="minimize") == reason
