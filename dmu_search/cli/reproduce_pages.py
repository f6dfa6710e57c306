"""The pages of ``reproduce``: what is needed and its cost, a plan's way, running trainings."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dmu_search.cli.invocation import command
from dmu_search.cli.screen import print_warning
from dmu_search.data import MissingFileError
from dmu_search.data.loading import LoadedData
from dmu_search.engine.tasks import task_class
from dmu_search.folders import OutputFolder
from dmu_search.report.words import duration, number, score
from dmu_search.retraining.agreement import FALSE_ALARM
from dmu_search.retraining.costs import Estimate
from dmu_search.retraining.needs import Need
from dmu_search.retraining.on_workers import Going, Progress
from dmu_search.retraining.repeated_runs import (
    DIFFERS,
    EQUAL,
    RESULT_DIGITS,
    UNTRAINED,
    WITHIN,
    Repetition,
    Spread,
)
from dmu_search.retraining.short_runs import Comparison

_SPEAK_EVERY_S = 30.0


def print_data(
    console: Console, data: LoadedData, *, absent: Mapping[str, MissingFileError]
) -> None:
    """Say which tasks are left out for lack of data, and what is odd about the data of others."""
    for task, error in absent.items():
        console.print(f"[bold yellow]left out:[/] {task}: {escape(str(error))}", soft_wrap=True)
    for warning in {one.warning for one in data.values() if one.warning}:
        console.print(f"[bold yellow]warning:[/] {escape(warning)}", soft_wrap=True)


def print_needs(
    console: Console, needs: Sequence[Need], *, estimates: Sequence[Estimate], workers: int
) -> None:
    """Say what is there, what is to be trained and what that costs."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting")
    for heading in ("runs", "epochs", "recorded", "cut off", "missing", "one core, at most"):
        table.add_column(heading, justify="right")
    for need in needs:
        seconds = sum(each.seconds for each in estimates if each.job.need is need)
        cut_off = sum(len(run.replicas) for run in need.unfinished)
        table.add_row(
            need.title,
            str(need.run.training.replicas),
            str(need.run.training.max_epochs),
            str(len(need.recorded)),
            str(cut_off or ""),
            str(len(need.missing) or ""),
            f"{duration(seconds)}" if seconds else "done",
        )
    console.print(table)
    console.print(_cost(estimates, workers), highlight=False)


def _cost(estimates: Sequence[Estimate], workers: int) -> str:
    if not estimates:
        return "everything is recorded; nothing to train"
    whole = sum(each.seconds for each in estimates)
    return (
        f"{len(estimates)} trainings, about {duration(whole)} of one core at most, "
        f"{duration(whole / min(workers, len(estimates)))} with {workers} at a time"
    )


def print_left_here(console: Console, count: int) -> None:
    """Say that trainings cannot be carried to another machine."""
    console.print(
        f"{count} trainings were cut off here and are left out: their checkpoints are on this "
        "machine; reproduce without plan_only resumes them"
    )


def print_way_there(console: Console, folder: Path, *, count: int, output_dir: Path) -> None:
    """Say what to call where ``count`` trainings of a plan's folder are carried, and here."""
    records = str(OutputFolder(Path("OUT")).records)
    for line in (
        f"{folder} holds {count} trainings. Copy it to a machine with torch, numpy and this "
        "package, and there, again after a cut-off:",
        f"  python -m dmu_search.engine {folder.name} OUT",
        "then copy OUT back, and here:",
        "  " + command("sync", records, f"output_dir={output_dir}"),
    ):
        console.print(line, highlight=False, soft_wrap=True)


def print_comparisons(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Say which of the short trainings agree with the recorded ones."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting")
    table.add_column("objective, after")
    for heading in ("recorded", "median", "new", "median", "p"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for one in comparisons:
        objective = task_class(one.run.task).objective
        table.add_row(
            f"{one.run.task}-{one.run.model}-d{one.run.depth}-{'-'.join(one.sources)}",
            f"val_{objective}, {one.run.training.max_epochs}",
            *(cell for values in (one.recorded, one.new) for cell in _count_and_median(values)),
            "" if one.chance is None else number(one.chance),
            "[green]agrees[/]" if one.agrees else "[bold red]differs[/]",
        )
    console.print(table)
    differing = sum(not one.agrees for one in comparisons)
    console.print(
        f"{len(comparisons) - differing} of {len(comparisons)} settings agree with their recorded "
        f"trainings. Were all alike, any of them would differ in {FALSE_ALARM:.0%} of such checks "
        f"(p below {number(FALSE_ALARM / len(comparisons))}). Where one seed is recorded, new ones "
        "may be a tenth off.",
        highlight=False,
        soft_wrap=True,
    )


def print_repetitions(console: Console, found: Sequence[Repetition]) -> None:
    """Say which of the runs that were trained again come out equal."""
    styles = {EQUAL: "green", WITHIN: "green", DIFFERS: "bold red", UNTRAINED: "bold red"}
    for one in found:
        console.print(
            f"[{styles[one.outcome]}]{one.outcome}[/]: seed {one.seed} of {one.before.run_id}",
            highlight=False,
            soft_wrap=True,
        )
        for line in _repetition(one):
            console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    counts = {name: sum(one.outcome == name for one in found) for name in styles}
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    console.print(f"of {len(found)} trained again: {said}", highlight=False)


def _repetition(one: Repetition) -> Iterator[str]:
    """What was compared, how it came out, and what may be the reason."""
    if one.after is None:
        return
    if one.outcome == EQUAL:
        yield f"the validation objectives of all {one.epochs} epochs are the same numbers"
        if one.results:
            yield (
                f"so are {len(one.results)} results at the best epoch, to {RESULT_DIGITS} digits "
                f"or more: {one.measure} {one.recorded!r}, now {one.new!r}"
            )
    else:
        yield f"{one.measure}: recorded {score(one.recorded)}, now {score(one.new)}"
        if one.parts_at is not None:
            yield f"validation objectives are other numbers from epoch {one.parts_at} on"
        elif one.unequal:
            yield f"all epochs are the same; other numbers: {', '.join(one.unequal)}"
    if one.spread is not None and one.differences:
        yield _spread(one.spread)
    yield from _origin(one)


def _spread(spread: Spread) -> str:
    inside = "within" if spread.holds else "outside"
    if spread.interval is None:
        return (
            f"{inside} a tenth of the record; of other runs there are {spread.others}, too few "
            "for an interval"
        )
    return (
        f"{inside} the cell's spread: {spread.others} other runs foretell "
        f"{score(spread.interval.low)} to {score(spread.interval.high)}; as near to its own record "
        "counts too"
    )


def _origin(one: Repetition) -> Iterator[str]:
    """What the new training has not in common with the recorded one, as far as is known."""
    unknown = [name for name, before, _ in one.differences if before is None]
    other = [
        f"{name} {before}, now {after}"
        for name, before, after in one.differences
        if before is not None
    ]
    if unknown:
        yield f"the record does not say its {', '.join(unknown)}"
    if other:
        yield f"not as in the record: {'; '.join(other)}"
    if one.differences and one.outcome != EQUAL:
        yield "so equal numbers are not to be expected"
    if not one.differences:
        yield "engine build, processor, torch and threads are those of the record"


def _count_and_median(values: Sequence[float]) -> tuple[str, str]:
    return str(len(values)), score(median(values)) if values else ""


@dataclass
class ProgressLines:
    """Prints each training that ends and, every so often, how far the others are.

    Args:
        console: to print on.
        count: of all trainings.
    """

    console: Console
    count: int
    over: int = 0
    spoke_at: float = field(default_factory=time.monotonic)

    def show(self, progress: Progress) -> None:
        """Print what happened."""
        for problem in progress.problems:
            print_warning(self.console, problem)
        for name, error in progress.ended:
            self.over += 1
            what = "done" if error is None else f"[bold red]failed:[/] {escape(error)}"
            count = escape(f"[{self.over}/{self.count}]")
            self.console.print(f"{count} {name} {what}", highlight=False, soft_wrap=True)
        if progress.going and time.monotonic() - self.spoke_at > _SPEAK_EVERY_S:
            self.spoke_at = time.monotonic()
            going = "  ".join(map(_epochs, progress.going))
            self.console.print(f"epochs: {going}", highlight=False, soft_wrap=True)


def _epochs(going: Going) -> str:
    return f"{going.name} {going.epoch}/{going.max_epochs}"
