"""What ``tune`` prints of finalists: which they are, and what fresh seeds say of them."""

from rich.console import Console
from rich.table import Table

from dmu_search.cli.screen import print_rows
from dmu_search.report.words import score
from dmu_search.retraining.finalists import Confirmation, Finalist, FinalRound
from dmu_search.study.settings import StudySettings
from dmu_search.study.trials import TrialState


def print_finalists(console: Console, settings: StudySettings, *, final: FinalRound) -> None:
    """Say which settings are trained over which fresh seeds, or why none are."""
    selection = final.selection
    if settings.search.finalists == 0:
        return
    if selection.finalists is None:
        print_rows(console, {"finalists": f"none: {selection.note}"})
        return
    finalists = selection.finalists
    names = ", ".join(_name(final.trials[number]) for number in finalists.trials)
    last = finalists.first_seed + finalists.seeds - 1
    text = f"{names}, each over {finalists.seeds} fresh seeds, {finalists.first_seed} to {last}"
    print_rows(
        console,
        {"finalists": f"{text} ({selection.note})" if selection.note else text},
    )


def print_confirmation(console: Console, confirmation: Confirmation, *, metric: str) -> None:
    """Say what fresh seeds gave, which setting won, and how lucky the search's best was."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{metric}, {len(confirmation.seeds)} fresh seeds")
    for name in ("this search", "mean ± std", "95 % interval"):
        table.add_column(name, justify="right")
    for each in confirmation.finalists:
        style = "bold" if each is confirmation.winner else None
        cells = (score(each.trial.objective), _mean(each), _interval(each))
        table.add_row(_name(each.trial), *cells, style=style)
    console.print(table)
    print_rows(console, {"confirmed": in_words(confirmation, metric)})


def in_words(confirmation: Confirmation, metric: str) -> str:
    """The winner and by how much the best setting of the search shrank, in a sentence."""
    winner = confirmation.winner
    text = (
        f"{_name(winner.trial)} with {metric} {_mean(winner)} over {len(confirmation.seeds)} "
        f"fresh seeds, 95 % interval {_interval(winner)}"
    )
    shrank_by = confirmation.shrank_by
    if shrank_by is None:
        return text
    first = _name(confirmation.finalists[0].trial)
    change = f"{score(abs(shrank_by))} {'worse' if shrank_by > 0 else 'better'}"
    return f"{text}; {first}, the best of the search, is {change} over them than in the search"


def _name(trial: TrialState) -> str:
    return f"trial {trial.number}" + (f" ({trial.source})" if trial.source else "")


def _mean(finalist: Finalist) -> str:
    estimate = finalist.estimate
    if estimate is None:
        return "a seed diverged"
    return f"{score(estimate.value)} ± {score(finalist.std)}"


def _interval(finalist: Finalist) -> str:
    estimate = finalist.estimate
    return "-" if estimate is None else f"{score(estimate.low)} to {score(estimate.high)}"
