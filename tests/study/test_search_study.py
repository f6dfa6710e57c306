"""A study cut off anywhere resumes as if it had not been, by any sampler and scheduler."""

import itertools
import math

import pytest

from dmu_search.study.proposals import SAMPLERS
from dmu_search.study.search_study import RETRIES
from dmu_search.study.stopping import SCHEDULERS
from dmu_search.study.trials import Checkpoint, Report, StudyState
from tests.study.toy import MAX_EPOCHS, PAPER, RATE, carry_out, decisions, epoch_of, loss, make

# `auto` is one of the others.
QUICK = [("gp", "promotion"), ("tpe", "asha"), ("random", "none")]
PAIRS = [
    pytest.param(pair, marks=[] if pair in QUICK else [pytest.mark.slow], id="-".join(pair))
    for pair in itertools.product(SAMPLERS, SCHEDULERS)
    if pair[0] != "auto"
]


@pytest.fixture(scope="module", params=PAIRS)
def whole(request):
    """A study of some 300 events, by every sampler and scheduler."""
    sampler, scheduler = request.param
    trials = {"none": 26, "asha": 80, "promotion": 45}[scheduler]
    settings = {"sampler": sampler, "scheduler": scheduler, "trials": trials}
    journal: list[dict] = []
    carry_out(make(**settings, journal=journal))
    assert 200 < len(journal) < 500
    return settings, journal


def check_nothing_lost_or_repeated(journal, whole_journal):
    state, expected = StudyState.of(journal), StudyState.of(whole_journal)
    assert decisions(journal) == decisions(whole_journal)
    assert state.trials.keys() == expected.trials.keys()
    for number, trial in state.trials.items():
        want = expected.trials[number]
        assert (trial.values, trial.status) == (want.values, want.status)
        assert str(trial.objectives) == str(want.objectives)


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2))]
)
def test_cut_after_any_event_a_study_resumes_as_if_never_interrupted(whole, part):
    settings, expected = whole
    # A cut at every event costs a study each: the quick suite takes a few.
    step = 60 if settings["sampler"] in ("random", "qmc") else 240
    for cut in range(part * step // 3, len(expected) + 1, step):
        journal = list(expected[:cut])
        carry_out(make(**settings, journal=journal))
        check_nothing_lost_or_repeated(journal, expected)


@pytest.mark.slow
def test_cut_after_every_event_and_cut_again_while_it_resumes(whole):
    settings, expected = whole
    # A model costs its time at every proposal, so fewer of its studies are carried far.
    far, to_the_end = (30, 10) if settings["sampler"] in ("random", "qmc") else (6, 60)
    for cut in range(len(expected) + 1):
        journal = list(expected[:cut])
        # A resume whose process is gone again after a few steps, twice.
        for _ in range(2):
            carry_out(make(**settings, journal=journal), epochs=3)
        ends = cut % to_the_end == 0
        carry_out(make(**settings, journal=journal), epochs=math.inf if ends else far)
        got = decisions(journal)
        assert got == decisions(expected)[: len(got)]
        assert (
            len(got) == len(decisions(expected))
            or len(got) > len(decisions(expected[:cut])) + far // 2
        )
        if ends:
            check_nothing_lost_or_repeated(journal, expected)


def test_parallel_trials_cut_off_lose_and_repeat_nothing():
    settings = {"sampler": "random", "scheduler": "none", "trials": 12}
    expected: list[dict] = []
    carry_out(make(**settings, journal=expected), concurrent=4)
    for cut in range(0, len(expected), 7):
        journal = list(expected[:cut])
        carry_out(make(**settings, journal=journal), concurrent=4)
        results = [(e["trial"], e["epoch"]) for e in journal if e["event"] == "result"]
        assert sorted(results) == sorted({*results})
        assert StudyState.of(journal).trials.keys() == set(range(12))
        # Without learning, proposals do not depend on the order in which trials end.
        asked = {e["trial"]: e["values"] for e in journal if e["event"] == "ask"}
        assert asked == {e["trial"]: e["values"] for e in expected if e["event"] == "ask"}


def test_each_decision_is_on_disk_before_it_takes_effect():
    study = None
    seen = []

    def append(event):
        trial = study.trials.get(event.get("trial"))
        seen.append((event["event"], None if trial is None else (trial.status, trial.epoch)))

    study = make(trials=1)
    study._append = append
    assignment = study.next()
    study.report(assignment.number, epoch_of(assignment.values, 1))
    study.fail(assignment.number, "why")
    assert seen == [("ask", None), ("result", ("open", 0)), ("fail", ("open", 1))]


def test_a_write_that_fails_changes_nothing():
    study = make(trials=3)
    assignment = study.next()

    def full(event):
        raise OSError("no space")

    study._append = full
    before = dict(study.trials)
    with pytest.raises(OSError, match="no space"):
        study.report(assignment.number, epoch_of(assignment.values, 1))
    with pytest.raises(OSError, match="no space"):
        study.next()
    assert study.trials == before


def test_open_trials_come_first_from_their_newest_checkpoint():
    journal: list[dict] = []
    study = make(trials=5, journal=journal, scheduler="none")
    first, second = study.next(), study.next()
    for epoch in range(1, 6):
        study.report(second.number, epoch_of(second.values, epoch))
        dropped = study.keep_checkpoint(second.number, Checkpoint(epoch, f"e{epoch}"))
        assert dropped == ((f"e{epoch - 2}",) if epoch > 2 else ())
        study.drop_checkpoints(second.number, dropped)
    resumed = make(trials=5, journal=journal, scheduler="none")
    assert [resumed.next().number for _ in range(2)] == [first.number, second.number]
    resumed = make(trials=5, journal=journal, scheduler="none")
    resumed.next()
    assert resumed.next().checkpoints == (Checkpoint(5, "e5"), Checkpoint(4, "e4"))
    assert resumed.next().number == 2


def test_a_repeated_epoch_changes_nothing_and_another_result_takes_its_place():
    journal: list[dict] = []
    study = make(trials=1, warm_starts=(), scheduler="none", journal=journal)
    number = study.next().number
    for epoch in (1, 2, 3):
        study.report(number, Report(epoch, 5.0 - epoch, {"objective": 5.0 - epoch}))
    length = len(journal)
    assert study.report(number, Report(2, 3.0, {"objective": 3.0}))
    assert len(journal) == length
    study.report(number, Report(2, 3.5, {"objective": 3.5}))
    assert dict(StudyState.of(journal).trials[number].objectives) == {1: 4.0, 2: 3.5}
    assert dict(study.trials[number].metrics) == {1: {"objective": 4.0}, 2: {"objective": 3.5}}


def test_outcomes():
    study = make(trials=6, scheduler="none", warm_starts=())
    numbers = [study.next().number for _ in range(4)]
    assert not study.report(numbers[0], Report(1, 1.5, {}, finished=True, summary={"test": 1.0}))
    assert not study.report(numbers[1], Report(1, math.nan, {}))
    study.fail(numbers[2], "ValueError: no")
    assert study.report(numbers[3], Report(1, 0.1, {}))
    statuses = [trial.status for trial in study.trials.values()]
    assert statuses == ["finished", "diverged", "failed", "open"]
    assert study.best.number == numbers[0]
    assert study.trials[numbers[2]].error == "ValueError: no"
    assert study.carried == 1
    assert not study.over


def test_a_lost_process_is_tried_again_but_not_for_ever():
    study = make(trials=1)
    for attempt in range(RETRIES):
        number = study.next().number
        assert study.lose(number, "killed", more_room=attempt == 0)
        assert study.carried == 0
    assignment = study.next()
    assert assignment.room == 2.0
    assert not study.lose(assignment.number, "killed", more_room=False)
    assert study.trials[assignment.number].error == "its process was lost 3 times (killed)"
    assert study.over


def test_a_study_can_be_given_more_trials():
    journal: list[dict] = []
    carry_out(make(trials=3, journal=journal))
    assert make(trials=3, journal=journal).next() is None
    assert carry_out(make(trials=5, journal=journal)) == [3, 4]


def test_warm_starts_come_first_and_are_never_stopped():
    bad = [PAPER, *(type(PAPER)(f"w{i}", {**PAPER.values, RATE: 1e-4}) for i in range(3))]
    study = make(trials=12, warm_starts=bad)
    carry_out(study, concurrent=2)
    trials = list(study.trials.values())
    assert [trial.source for trial in trials[:5]] == ["paper", "w0", "w1", "w2", None]
    assert all(trial.status == "finished" for trial in trials[:4])
    assert all(trial.values[RATE] == 1e-4 for trial in trials[1:4])
    assert any(trial.status == "stopped early" for trial in trials[4:])


def test_the_search_learns():
    study = make(trials=60, warm_starts=(), scheduler="none")
    carry_out(study)
    assert loss(study.best.values) < 0.1 + 2.0 / MAX_EPOCHS


def test_of_an_objective_that_is_to_be_large_the_best_is_the_largest():
    study = make(trials=4, warm_starts=(), direction="maximize")
    for _ in range(4):
        number = study.next().number
        study.report(number, Report(1, float(number), {}, finished=True))
    assert study.best.objective == 3.0


def test_a_search_ends_when_trials_after_the_best_bring_nothing():
    study = make(sampler="random", trials=60, scheduler="promotion", patience_trials=6)
    carry_out(study)
    trials = study.trials
    assert study.over
    assert len(trials) < 60
    shown = [t for t in trials.values() if t.objective is not None]
    assert sum(trial.number > study.best.number for trial in shown) >= 6
    assert study.best.objective == min(t.objective for t in shown)
    assert study.enough == (
        f"{sum(t.number > study.best.number for t in shown)} trials after trial "
        f"{study.best.number} were no better (search.patience_trials)"
    )


@pytest.mark.parametrize(("direction", "target"), [("minimize", 0.6), ("maximize", -0.6)])
def test_a_search_ends_at_its_target(direction, target):
    study = make(sampler="qmc", trials=80, warm_starts=(), direction=direction, target=target)
    sign = 1 if direction == "minimize" else -1
    while (assignment := study.next()) is not None:
        epoch = 1
        while study.report(
            assignment.number,
            Report(epoch, sign * loss(assignment.values, epoch), {}, finished=epoch == MAX_EPOCHS),
        ):
            epoch += 1
    assert len(study.trials) < 80
    assert sign * study.best.objective <= 0.6
    assert study.enough == f"trial {study.best.number} reached search.target"


def test_what_was_spent_is_counted_once_also_over_a_resume():
    journal: list[dict] = []
    study = make(trials=6, journal=journal, scheduler="none", warm_starts=())
    carry_out(study, epochs=25)
    carry_out(make(trials=6, journal=journal, scheduler="none", warm_starts=()))
    study = make(trials=6, journal=journal, scheduler="none", warm_starts=())
    epochs = sum(len(trial.objectives) for trial in study.trials.values())
    assert study.spending.epochs == epochs
    losses = [(e["objective"], e["trial"]) for e in journal if e["event"] == "result"]
    best = min((v, number) for v, number in losses if v is not None)
    assert study.spending.trial == best[1]
    assert study.spending.improved_at == losses.index(best) + 1
    assert study.spending.in_words(9) == (
        f"{epochs} epochs ({epochs / 9:.3g} whole trainings), the last improvement after "
        f"{losses.index(best) + 1} by trial {best[1]}"
    )
