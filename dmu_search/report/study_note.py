"""The description of a study's run in MLflow: which setting won, against what, and at what cost."""

from collections.abc import Mapping, Sequence

from dmu_search.engine.tasks import task_class
from dmu_search.names import TASKS, signed_loss
from dmu_search.paper.data import is_published_data
from dmu_search.paper.published import published
from dmu_search.report.study_figures import Importances
from dmu_search.report.words import duration, in_markdown, number, score
from dmu_search.retraining.finalists import Confirmation
from dmu_search.study.settings import StudySettings
from dmu_search.study.trials import TrialState
from dmu_search.tracking.names import short_key

# A tag of MLflow holds 8000 characters.
_MOST = 7600


def ranked(trials: Mapping[int, TrialState], settings: StudySettings) -> list[TrialState]:
    """Finished trials by objective, then those that were stopped, then those without a result."""
    direction = TASKS[settings.task].direction
    order = ("finished", "paused", "open", "stopped early")

    def key(trial: TrialState) -> tuple[int, bool, float]:
        failed = trial.objective is None or trial.status not in order
        place = 2 if failed else int(trial.status != "finished")
        return place, trial.objective is None, signed_loss(trial.objective or 0.0, direction)

    return sorted(trials.values(), key=key)


def winner_of(
    trials: Mapping[int, TrialState], settings: StudySettings, *, confirmation: Confirmation | None
) -> TrialState | None:
    """The setting that fresh seeds confirmed, else the best of the search; None before any."""
    if confirmation is not None:
        return confirmation.winner.trial
    best = next(iter(ranked(trials, settings)), None)
    return best if best is not None and best.status == "finished" else None


def levels(
    trials: Mapping[int, TrialState], settings: StudySettings, *, data_name: str
) -> list[tuple[float, str]]:
    """Objectives to compare with: the published settings' in this search, and the paper's."""
    found = [
        (trial.objective, f"{trial.source} setting, here")
        for trial in trials.values()
        if trial.source and trial.status == "finished" and trial.objective is not None
    ]
    if is_published_data(settings.task, settings.data, name=data_name):
        result = published(settings.task).results.get(settings.model, {}).get(settings.depth)
        if result is not None:
            found.append((result["test"].mean, "paper, test"))
    return found


def note(
    trials: Mapping[int, TrialState],
    settings: StudySettings,
    *,
    confirmation: Confirmation | None,
    why_unconfirmed: str,
    importances: Importances,
) -> str:
    """Markdown of at most ``_MOST`` characters.

    Args:
        trials: of the study.
        settings: of it.
        confirmation: what fresh seeds say; None while they have not.
        why_unconfirmed: in that case.
        importances: as ``study.importance`` gives them.
    """
    best = winner_of(trials, settings, confirmation=confirmation)
    metric = f"val_{task_class(settings.task).objective}"
    if best is None:
        top = ["**No trial has used its whole budget yet.**"]
    else:
        top = [
            f"## Trial {best.number} won: {metric} {score(best.objective)}",
            "",
            f"**{in_markdown(_setting(best, settings))}**"
            + (f" (the {in_markdown(best.source)} setting)" if best.source else ""),
            "",
            *_comparisons(best, trials, settings=settings),
            _confirmed(confirmation, why_unconfirmed, metric=metric),
        ]
    top += [*_mattered(importances), _cost(trials, settings), ""]
    top += [
        "Artifacts: `study.html` (all plots, opens anywhere), `plots/`, `best.yaml`, weights.",
        "",
    ]
    return "\n".join(
        [*top, *_table(trials, settings, winner=best, room=_MOST - len("\n".join(top)))]
    )


def _setting(trial: TrialState, settings: StudySettings) -> str:
    return ", ".join(
        f"{name} = {number(trial.values[name])}" for name in settings.space if name in trial.values
    )


def _comparisons(
    best: TrialState, trials: Mapping[int, TrialState], *, settings: StudySettings
) -> list[str]:
    """By how much it is ahead of each published setting that this search tried."""
    lines = []
    direction = TASKS[settings.task].direction
    for trial in trials.values():
        if not trial.source or trial is best or trial.number == best.number:
            continue
        who = f"the {in_markdown(trial.source)} setting (trial {trial.number})"
        if trial.status != "finished" or trial.objective is None or best.objective is None:
            lines.append(f"- {who} has not finished")
            continue
        ahead = signed_loss(trial.objective, direction) - signed_loss(best.objective, direction)
        share = f", {abs(ahead / trial.objective):.1%}" if trial.objective else ""
        word = "better" if ahead >= 0 else "worse"
        lines.append(
            f"- {score(abs(ahead))}{share} {word} in the search than {who}, "
            f"{score(trial.objective)}"
        )
    return lines


def _confirmed(confirmation: Confirmation | None, why: str, *, metric: str) -> str:
    if confirmation is None:
        return f"- unconfirmed: {in_markdown(why)}"
    estimate = confirmation.winner.estimate
    assert estimate is not None, "a winner has a mean"
    return (
        f"- confirmed over {len(confirmation.seeds)} fresh seeds: {metric} "
        f"{score(estimate.value)}, 95 % interval {score(estimate.low)} to {score(estimate.high)}"
    )


def _mattered(importances: Importances) -> list[str]:
    return [
        f"- mattered most ({estimate}): "
        + ", ".join(
            f"{in_markdown(short_key(name))} {share:.0%}"
            for name, share in list(shares.items())[:3]
        )
        for estimate, shares in importances.items()
    ]


def _cost(trials: Mapping[int, TrialState], settings: StudySettings) -> str:
    epochs = sum(trial.epoch for trial in trials.values())
    seconds = sum(
        values.get("epoch_wall_time_s", 0.0)
        for trial in trials.values()
        for values in trial.metrics.values()
    )
    whole = epochs / settings.max_epochs
    counts: dict[str, int] = {}
    for trial in trials.values():
        counts[trial.status] = counts.get(trial.status, 0) + 1
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    return (
        f"- cost: {epochs} epochs ({whole:.3g} whole trainings), {duration(seconds)} of training; "
        f"{len(trials)} trials: {said}"
    )


def header(settings: StudySettings) -> list[str]:
    """Columns of the table of trials."""
    keys = [short_key(name) for name in settings.space]
    return ["rank", "trial", f"val_{task_class(settings.task).objective}", "outcome", *keys]


def row(rank: int, trial: TrialState, *, settings: StudySettings) -> list[str]:
    """A trial as cells; one that was stopped has its last epoch."""
    outcome = trial.source or "finished"
    if trial.status != "finished":
        status = "running" if trial.status == "open" else trial.status
        outcome = f"{status} at {trial.epoch}"
    values = [number(trial.values.get(name, "")) for name in settings.space]
    return [str(rank), str(trial.number), score(trial.objective) or "-", outcome, *values]


def _table(
    trials: Mapping[int, TrialState],
    settings: StudySettings,
    *,
    winner: TrialState | None,
    room: int,
) -> Sequence[str]:
    if not trials:
        return []
    columns = header(settings)
    lines = [_line(columns), _line(["---:"] * 3 + [":---"] + ["---:"] * len(settings.space))]
    room -= sum(map(len, lines)) + 200
    everyone = ranked(trials, settings)
    for rank, trial in enumerate(everyone, start=1):
        cells = [in_markdown(cell) for cell in row(rank, trial, settings=settings)]
        won = winner is not None and trial.number == winner.number
        line = _line([f"**{cell}**" if won and cell else cell for cell in cells])
        room -= len(line) + 1
        if room < 0:
            left = len(everyone) - rank + 1
            return [*lines, "", f"{left} more are in `study.html`, with all plots."]
        lines.append(line)
    return lines


def _line(cells: Sequence[str]) -> str:
    # Wide spaces keep columns apart where a page sets tables tightly.
    return (
        "| " + " | ".join(f"\u2003{cell}" if "---" not in cell else cell for cell in cells) + " |"
    )
