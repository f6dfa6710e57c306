"""What the screen says of finalists."""

import math

import pytest
from rich.console import Console

from dmu_search.cli.finalist_pages import in_words, print_confirmation
from dmu_search.retraining.finalists import Confirmation, Finalist, estimates_of
from dmu_search.study.trials import TrialState

RESULTS = {
    7: (3.35, 3.37, 3.36, 3.39, 3.38),
    0: (3.30, 3.32, 3.31, 3.34, 3.33),
    4: (3.3, math.nan, 3.3, 3.3, 3.3),
}
ESTIMATES = estimates_of(RESULTS, "minimize")


def finalist(number, objective, source=None):
    trial = TrialState(number, {}, source, "finished", {9: objective})
    return Finalist(trial, RESULTS[number], ESTIMATES[number])


LUCKY, PAPER, DIVERGED = finalist(7, 3.25), finalist(0, 3.31, "paper"), finalist(4, 3.3)


def confirmation(*finalists, winner=PAPER, direction="minimize"):
    return Confirmation(finalists, winner, range(1, 6), direction)


def test_the_table_and_the_sentence():
    console = Console(width=200, record=True)
    print_confirmation(console, confirmation(LUCKY, DIVERGED, PAPER), metric="val_nll_nats")
    *table, sentence = [line.rstrip() for line in console.export_text().splitlines()]
    assert table == [
        "val_nll_nats, 5 fresh seeds  this search       mean ± std     95 % interval",
        "trial 7                           3.2500  3.3700 ± 0.0158  3.3504 to 3.3896",
        "trial 4                           3.3000  a seed diverged                 -",
        "trial 0 (paper)                   3.3100  3.3200 ± 0.0158  3.3004 to 3.3396",
    ]
    assert sentence == (
        "confirmed  trial 0 (paper) with val_nll_nats 3.3200 ± 0.0158 over 5 fresh seeds, 95 % "
        "interval 3.3004 to 3.3396; trial 7, the best of the search, is 0.1200 worse over them "
        "than in the search"
    )


@pytest.mark.parametrize(
    ("direction", "change"), [("minimize", "0.1200 worse"), ("maximize", "0.1200 better")]
)
def test_shrinking_is_getting_worse(direction, change):
    text = in_words(confirmation(LUCKY, PAPER, direction=direction), "val_accuracy")
    assert f"is {change} over them than in the search" in text


def test_nothing_is_said_of_a_best_that_diverged():
    found = confirmation(DIVERGED, PAPER)
    assert found.shrank_by is None
    assert "search_best_shrank_by" not in found.metrics()
    assert in_words(found, "val_nll_nats").endswith("95 % interval 3.3004 to 3.3396")
