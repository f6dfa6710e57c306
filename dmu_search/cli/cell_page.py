"""The page of ``report cell=..``: the recorded runs of a cell, and how its number is made."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dmu_search.engine.plans.machine import COMPUTED_BY
from dmu_search.engine.tasks import task_class
from dmu_search.paper.published import published
from dmu_search.paper.table_cells import TableCell
from dmu_search.report.cell_runs import CellRuns, seeds_text
from dmu_search.report.document import threshold_text
from dmu_search.report.words import duration, score
from dmu_search.results.selection import first_below
from dmu_search.results.trainings import RecordedRun, Replica

# Of a hash, enough to tell one from another.
HASH_LETTERS = 12


def print_cell(console: Console, cell: TableCell, *, found: Sequence[CellRuns]) -> None:
    """Print every recorded run of a cell, by setting and training."""
    console.print(f"{cell.name}: {cell.title}", style="bold", highlight=False)
    for each in found:
        console.print()
        title = ", ".join((*each.names, each.settings))
        console.rule(Text(title, style="bold"), align="left")
        console.print(escape(each.sentence), highlight=False, soft_wrap=True)
        for run, replicas in each.trainings:
            console.print()
            console.print(escape(_training(run, replicas)), highlight=False, soft_wrap=True)
            console.print(f"  {escape(computed_by(run))}", highlight=False, soft_wrap=True)
            console.print(f"  {_columns(run)}", highlight=False, soft_wrap=True)
            console.print(_results(run, replicas), highlight=False)
        for run, reason in each.apart:
            console.print(f"not counted: {run.run_id}, {reason}", highlight=False, soft_wrap=True)


def _training(run: RecordedRun, replicas: Sequence[Replica]) -> str:
    width = len(run.replicas)
    fused = f"{width} fused as one program" if width > 1 else "alone"
    time = f"{duration(run.seconds)}{' for all' if width > 1 else ''}"
    return (
        f"{run.run_id}: {run.status}, {seeds_text([each.seed for each in replicas])} ({fused}), "
        f"{run.epochs} of {run.run.training.max_epochs} epochs in {time}, "
        f"data {run.data_name} {run.data_sha256[:HASH_LETTERS]}"
    )


def computed_by(run: RecordedRun) -> str:
    """What a training was computed by: ``commit 1234, engine native ..``; what is not known."""
    known = [f"{name} {run.computed_by[name]}" for name in COMPUTED_BY if name in run.computed_by]
    if run.resumes is not None:
        known.append(f"resumed {run.resumes} times")
    unknown = [name for name in COMPUTED_BY if name not in run.computed_by]
    parts = [f"computed by: {', '.join(known)}"] if known else []
    parts += [f"not recorded: {', '.join(unknown)}"] if unknown else []
    return "; ".join(parts)


def _columns(run: RecordedRun) -> str:
    """What the columns of a training's results are, in words."""
    objective = task_class(run.run.task).objective.replace("_", " ")
    reached = ", and the first epoch below each loss" if published(run.run.task).thresholds else ""
    return f"{objective} of each split at the best epoch{reached}:"


def _results(run: RecordedRun, replicas: Sequence[Replica]) -> Table:
    """A line per run: its best epoch and results there; of a figure, when it passed thresholds."""
    objective = task_class(run.run.task).objective
    thresholds = published(run.run.task).thresholds
    table = Table(box=None, pad_edge=False, header_style="bold")
    splits = ("train", "val", "test")
    for heading in (
        "  seed",
        "best",
        *splits,
        *(f"<{threshold_text(each)}" for each in thresholds),
    ):
        table.add_column(heading, justify="right")
    for each in replicas:
        values = [score(each.metrics.get(f"{split}_{objective}")) for split in splits]
        reached = [_epoch(first_below(each.curve, threshold)) for threshold in thresholds]
        best = "diverged" if each.diverged else str(each.best_epoch)
        table.add_row(str(each.seed), best, *values, *reached)
    return table


def _epoch(first: float) -> str:
    return f"{first:.0f}" if math.isfinite(first) else "never"
