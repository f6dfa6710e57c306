"""Studies in tables: all of them, one alone, and several beside each other."""

from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table

from dmu_search.cli.finalist_pages import print_confirmation
from dmu_search.cli.invocation import command, folder_words
from dmu_search.cli.screen import print_rows, ranked, settings_text
from dmu_search.engine.tasks import task_class
from dmu_search.folders import OutputFolder
from dmu_search.names import TASKS, signed_loss
from dmu_search.on_ray.progress import TrialView
from dmu_search.records import Recorder, RunStart, first_tags
from dmu_search.report.words import in_markdown, score
from dmu_search.retraining.standing import Standing
from dmu_search.study.files import Study
from dmu_search.tracking.names import short_values

_SHOWN = 10
_NUMBERS = ("depth", "trials", "best")
_UNCONFIRMED = "?"


def print_list(console: Console, standings: Sequence[Standing]) -> None:
    """A row per study, the newest last."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("study", "task", "model", "depth", "data", "trials", "best", "state", "began"):
        justify: Literal["left", "right"] = "right" if name in _NUMBERS else "left"
        table.add_column(name, justify=justify, no_wrap=name == "study")
    for each in standings:
        settings = each.study.settings
        table.add_row(
            each.study.name,
            settings.task,
            settings.model,
            str(settings.depth),
            _data_name(each),
            f"{sum(t.over for t in each.trials.values())} of {settings.search.trials}",
            _best(each),
            each.state,
            each.began,
        )
    console.print(table)
    if any(_best(each).endswith(_UNCONFIRMED) for each in standings):
        console.print(f"{_UNCONFIRMED} by the seeds of the search alone", highlight=False)


def _data_name(standing: Standing) -> str:
    study = standing.study
    record = OutputFolder(study.settings.output_dir).records / f"{study.name}.jsonl"
    return first_tags(record).get("data.name", "")


def _best(standing: Standing) -> str:
    """The mean over fresh seeds, or what the search had, marked."""
    winner = standing.winner
    if winner is not None and winner.estimate is not None:
        return score(winner.estimate.value)
    if standing.best is None:
        return "-"
    return f"{score(standing.best.objective)}{_UNCONFIRMED}"


def print_standing(console: Console, standing: Standing) -> None:
    """One study: what it is, how it stands, its best trials, and what to type next."""
    study, settings = standing.study, standing.study.settings
    metric = f"val_{task_class(settings.task).objective}"
    console.rule(f"[bold]{study.name}", align="left")
    counts = ", ".join(f"{count} {status}" for status, count in standing.counts.items())
    rows = {
        "searches": f"{settings.title}, at most {settings.max_epochs} epochs a trial",
        "data": _data_name(standing) or "-",
        "began": standing.began,
        "state": standing.state,
        "trials": f"{counts or 'none'} (of {settings.search.trials})",
        "spent": standing.spent.in_words(settings.max_epochs),
        "folder": str(study.folder),
    }
    print_rows(console, rows)
    views = ranked(map(TrialView.of, standing.trials.values()), TASKS[settings.task].direction)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trial", justify="right")
    table.add_column(metric, justify="right")
    for name in ("epoch", "status", "source", "settings"):
        table.add_column(name, justify="right" if name == "epoch" else "left")
    for view in views[:_SHOWN]:
        cells = (str(view.epoch), view.status, view.warm_start or "search")
        text = settings_text(view.values)
        table.add_row(str(view.number), score(view.objective), *cells, text)
    console.print(table)
    if standing.confirmation is not None:
        print_confirmation(console, standing.confirmation, metric=metric)
    if standing.state not in ("running", "ended"):
        words = command("tune", f"resume={study.name}", *folder_words(settings.output_dir))
        console.print(f"To resume it:\n  {words}", highlight=False, soft_wrap=True)


def compare(console: Console, studies: Sequence[Study], *, recorder: Recorder) -> None:
    """The end of a command of several studies: those of one task beside each other.

    Args:
        console: gets a table for each task that several studies are of.
        studies: of the command.
        recorder: gets the table as a run of its own, which MLflow shows.
    """
    by_task: dict[str, list[Study]] = {}
    for study in studies:
        by_task.setdefault(study.settings.task, []).append(study)
    for task, alike in by_task.items():
        if len(alike) == 1:
            continue
        standings = [Standing.of(study) for study in alike]
        console.rule(f"[bold]{task}: {len(alike)} studies", align="left")
        print_comparison(console, standings)
        run_id = f"{alike[0].group}.comparison-{task}"
        recorder.start(
            RunStart(
                run_id=run_id,
                name=f"comparison of {len(alike)} studies",
                kind="comparison",
                tags={"task": task, "studies": ", ".join(study.name for study in alike)},
            )
        )
        recorder.tag(run_id, {"mlflow.note.content": comparison_in_markdown(standings)})
        recorder.end(run_id, "FINISHED")


def print_comparison(console: Console, standings: Sequence[Standing]) -> None:
    """Several studies of one task by what they found, the best first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _columns(standings):
        justify: Literal["left", "right"] = "left" if name in _LEFT else "right"
        table.add_column(name, justify=justify, no_wrap=name == "study")
    for cells in _rows(standings):
        table.add_row(*cells)
    console.print(table)


def comparison_in_markdown(standings: Sequence[Standing]) -> str:
    """The same for MLflow's page."""
    columns = _columns(standings)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(map(in_markdown, cells))} |" for cells in _rows(standings)]
    return "\n".join(lines)


_LEFT = ("model", "study", "best setting")


def _columns(standings: Sequence[Standing]) -> tuple[str, ...]:
    metric = f"val_{task_class(standings[0].study.settings.task).objective}"
    names = ("model", "depth", f"{metric}, fresh seeds", "95 % interval", "seeds", "in the search")
    return (*names, "trials", "epochs", "best setting", "study")


def _rows(standings: Sequence[Standing]) -> list[tuple[str, ...]]:
    direction = TASKS[standings[0].study.settings.task].direction

    def loss(standing: Standing) -> tuple[bool, float]:
        """Confirmed ones first: a single seed's result would flatter the others."""
        winner, best = standing.winner, standing.best
        if winner is not None and winner.estimate is not None:
            return False, signed_loss(winner.estimate.value, direction)
        if best is None or best.objective is None:
            return True, float("inf")
        return True, signed_loss(best.objective, direction)

    return [_row(standing) for standing in sorted(standings, key=loss)]


def _row(standing: Standing) -> tuple[str, ...]:
    settings, best, winner = standing.study.settings, standing.best, standing.winner
    estimate = None if winner is None else winner.estimate
    fresh = ("unconfirmed", "-", "-")
    if winner is not None and estimate is not None:
        fresh = (
            f"{score(estimate.value)} ± {score(winner.std)}",
            f"{score(estimate.low)} to {score(estimate.high)}",
            str(len(winner.results)),
        )
    setting = "-" if best is None else short_values(best.values)
    return (
        settings.model,
        str(settings.depth),
        *fresh,
        "-" if best is None else score(best.objective),
        str(len(standing.trials)),
        str(standing.spent.epochs),
        setting,
        standing.study.name,
    )
