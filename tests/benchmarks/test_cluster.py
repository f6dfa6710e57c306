import math

from simulation.cluster import Cluster, Improvement, Job
from simulation.problems import Training


class Scripted:
    """Hands out jobs in the order of a list; None entries leave a worker idle once."""

    def __init__(self, jobs, lives=lambda number, epoch: True):
        self.jobs = list(jobs)
        self.lives = lives
        self.heard = []

    def next(self):
        number = self.jobs.pop(0) if self.jobs else None
        return None if number is None else Job(number, {"trial": number})

    def report(self, number, loss, *, epoch, finished):
        self.heard.append((number, epoch, loss, finished))
        return not finished and self.lives(number, epoch)


class Curves:
    """Trainings by the number of the trial."""

    def __init__(self, curves, seconds=None):
        self.curves = curves
        self.seconds = seconds or {}

    def train(self, values):
        number = values["trial"]
        if number not in self.curves:
            return None
        return Training(self.curves[number], self.seconds.get(number, 1.0))


def carry_out(search, run, *, workers=1, budget=100, max_epochs=2):
    return Cluster(search, run, max_epochs=max_epochs, workers=workers).carry_out(budget)


def test_one_worker_trains_trial_after_trial_and_keeps_each_improvement() -> None:
    outcome = carry_out(Scripted([0, 1]), Curves({0: (5.0, 4.0), 1: (6.0, 1.0)}))
    assert outcome.improvements == (
        Improvement(1, 1.0, 5.0),
        Improvement(2, 2.0, 4.0),
        Improvement(4, 4.0, 1.0),
    )
    assert (outcome.trials, outcome.epochs, outcome.time_s) == (2, 4, 4.0)


def test_workers_train_at_the_same_time() -> None:
    outcome = carry_out(Scripted([0, 1]), Curves({0: (5.0, 4.0), 1: (6.0, 1.0)}), workers=2)
    assert (outcome.epochs, outcome.time_s) == (4, 2.0)


def test_epochs_that_end_together_are_reported_in_the_order_of_their_beginning() -> None:
    search = Scripted([3, 1, 2])
    carry_out(search, Curves(dict.fromkeys((1, 2, 3), (1.0, 1.0))), workers=3)
    assert [number for number, *_ in search.heard] == [3, 1, 2, 3, 1, 2]


def test_a_slow_trial_is_reported_when_it_ends() -> None:
    search = Scripted([0, 1])
    carry_out(search, Curves(dict.fromkeys((0, 1), (1.0, 1.0)), {0: 5.0}), workers=2)
    assert [(number, epoch) for number, epoch, *_ in search.heard] == [
        (1, 1),
        (1, 2),
        (0, 1),
        (0, 2),
    ]


def test_a_paused_trial_is_trained_further_from_its_epoch() -> None:
    # Trial 0 is paused after its first epoch and handed out again after trial 1.
    search = Scripted([0, 1, 0], lives=lambda number, epoch: number == 1)
    outcome = carry_out(search, Curves({0: (5.0, 3.0), 1: (6.0, 4.0)}))
    assert [(number, epoch) for number, epoch, *_ in search.heard] == [
        (0, 1),
        (1, 1),
        (1, 2),
        (0, 2),
    ]
    assert search.heard[-1] == (0, 2, 3.0, True)
    assert outcome.trials == 2


def test_an_idle_worker_asks_again_when_something_was_reported() -> None:
    outcome = carry_out(
        Scripted([0, None, 1]), Curves(dict.fromkeys((0, 1), (1.0, 1.0))), workers=2
    )
    # The second worker begins trial 1 after the first epoch of trial 0.
    assert outcome.time_s == 3.0


def test_the_search_ends_with_its_budget() -> None:
    outcome = carry_out(Scripted(range(9)), Curves(dict.fromkeys(range(9), (1.0, 1.0))), budget=5)
    assert (outcome.epochs, outcome.trials) == (5, 3)


def test_the_search_ends_where_the_problem_has_no_training_left() -> None:
    outcome = carry_out(Scripted(range(9)), Curves(dict.fromkeys(range(2), (1.0, 1.0))))
    assert (outcome.epochs, outcome.trials) == (4, 2)


def test_a_diverged_epoch_improves_nothing() -> None:
    search = Scripted([0, 1], lives=lambda number, epoch: number == 1)
    outcome = carry_out(search, Curves({0: (math.nan, math.nan), 1: (2.0, 2.0)}))
    assert [each.value for each in outcome.improvements] == [2.0]
