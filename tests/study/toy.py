"""A study carried out without processes: a toy training stands in for Ray's trials."""

import math
from collections.abc import Sequence

from dmu_search.config.distributions import Choice, Interval
from dmu_search.study.proposals import Plan
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.settings import WarmStart
from dmu_search.study.stopping import SCHEDULERS, Rungs
from dmu_search.study.trials import Checkpoint, Report

RATE, RULE, RATIO, BATCH = (
    "training.learning_rate",
    "training.block_learning_rate_rule",
    "training.block_learning_rate_ratio",
    "training.batch_size",
)
SPACE = {
    RATIO: Interval(0.02, 1.0, log=True),
    RATE: Interval(1e-4, 1e-1, log=True),
    RULE: Choice(("paper", "released", "ratio")),
    BATCH: Choice((16, 32)),
}
PAPER = WarmStart("paper", {RATE: 0.005, RULE: "paper", BATCH: 32})
MAX_EPOCHS = 9


def loss(values, epoch=MAX_EPOCHS):
    """Falls with the epochs towards what the setting is worth."""
    final = abs(math.log(values[RATE] / 0.01)) + (values.get(RULE) == "ratio")
    return final + 2.0 / epoch


def make(
    *,
    sampler="tpe",
    scheduler="asha",
    seed=0,
    trials=12,
    warm_starts=(PAPER,),
    direction="minimize",
    space=SPACE,
    journal=None,
    priors=(),
    **rules,
):
    """A study whose journal is the list ``journal``, in the state that it tells."""
    journal = [] if journal is None else journal
    rungs = Rungs.of(1, MAX_EPOCHS, reduction_factor=3, direction=direction)
    plan = Plan(
        space,
        seed=seed,
        startup_trials=4,
        direction=direction,
        rungs=rungs.epochs,
        max_epochs=MAX_EPOCHS,
        priors=priors,
    )
    return SearchStudy(
        plan,
        sampler=sampler,
        stopping=SCHEDULERS[scheduler](rungs),
        trials=trials,
        warm_starts=warm_starts,
        events=tuple(journal),
        append=journal.append,
        **rules,
    )


def epoch_of(values, epoch):
    """What the toy training reports; with large rates it diverges on the way."""
    value = math.nan if values[RATE] > 0.08 and epoch > 3 else loss(values, epoch)
    finished = epoch == MAX_EPOCHS
    return Report(
        epoch=epoch,
        objective=value,
        metrics={"objective": value, "val_toy": value},
        finished=finished and value == value,
        summary={"test_toy": value} if finished and value == value else None,
    )


def carry_out(
    study: SearchStudy, *, concurrent=1, checkpoint_every=2, epochs=math.inf
) -> list[int]:
    """Carry the study to its end, taking turns; returns the trials in the order they were begun.

    ``epochs``: stop after about so many.
    """
    begun: list[int] = []
    running: dict[int, tuple[dict, int]] = {}
    while (not study.over or running) and epochs > 0:
        epochs -= max(len(running), 1)
        while study.carried < concurrent and (assignment := study.next()) is not None:
            epoch = assignment.checkpoints[0].epoch if assignment.checkpoints else 0
            running[assignment.number] = (dict(assignment.values), epoch)
            begun.append(assignment.number)
        for number, (values, epoch) in list(running.items()):
            goes_on = study.report(number, epoch_of(values, epoch + 1))
            paused = study.trials[number].status == "paused"
            if paused or (goes_on and (epoch + 1) % checkpoint_every == 0):
                study.keep_checkpoint(number, Checkpoint(epoch + 1, f"{number}-{epoch + 1}"))
            if goes_on:
                running[number] = (values, epoch + 1)
            else:
                del running[number]
    return begun


def decisions(journal: Sequence[dict]) -> list[tuple]:
    """What was proposed and decided, in order, without what only a resume adds."""
    return [
        (e["event"], e.get("trial"), str(e.get("values")), e.get("epoch"), e.get("decision"))
        for e in journal
        if e["event"] in ("ask", "result", "promote", "end", "fit")
    ]
