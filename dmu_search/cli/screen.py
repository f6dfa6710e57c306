"""What a search shows while it runs: a live table, or plain lines where there is no terminal."""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TextIO

from rich.console import Console, Group, RenderableType
from rich.errors import MarkupError
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dmu_search.errors import StorageError
from dmu_search.names import Direction, signed_loss
from dmu_search.on_ray.progress import TrialView
from dmu_search.report.words import duration, number, score, visible
from dmu_search.study.remaining import Progress, epochs_left

_ROWS = 12
# Seconds between two plain lines about the same running trial, and between two about them all.
_PLAIN_EVERY_S = 15.0
_SUMMARY_EVERY_S = 60.0
# What looks like a tag of rich's and is none of ours.
_FOREIGN = re.compile(
    r"(?<!\\)\[(?=[a-z#/@][^\[]*?\])(?!(?:bold|bold red|bold yellow|red|yellow|green|/)\])"
)
_OVER = ("finished", "stopped early", "diverged", "failed")
_STYLES = {
    "finished": "green",
    "running": "cyan",
    "paused": "",
    "stopped early": "dim",
    "interrupted": "yellow",
    "diverged": "red",
    "failed": "red",
}
Loudness = Literal["quiet", "normal", "verbose"]


class SearchScreen:
    """Shows a study's trials; a ``Watcher``, used as a context.

    Args:
        console: where to.
        trials: of the study in all.
        max_epochs: of a trial that is not stopped early.
        scheduler: of the study, by which the time left is estimated.
        metric: name of the objective.
        direction: whether a small or a large one is good.
        published: the paper's value, in words; None where there is none.
        loudness: ``quiet`` shows warnings only, ``verbose`` has a line for every epoch.
    """

    def __init__(
        self,
        console: Console,
        *,
        trials: int,
        max_epochs: int,
        scheduler: str,
        metric: str,
        direction: Direction,
        published: str | None,
        loudness: Loudness = "normal",
    ) -> None:
        self._console = console
        self._scheduler = scheduler
        self._loudness = loudness
        self._trials = trials
        self._max_epochs = max_epochs
        self._metric = metric
        self._direction: Direction = direction
        self._published = published
        self._views: dict[int, TrialView] = {}
        self._counts: Counter[str] = Counter()
        # Of the first epoch that this command saw, and the epochs done by then.
        self._began: float | None = None
        self._epochs_before = 0
        self._spoke_at: dict[int, float] = {}
        self._summed_up_at = time.monotonic()
        self._problems: set[str] = set()
        # Ray prints to the streams, and those are not for the screen.
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=2,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> "SearchScreen":
        if self._is_live:
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def resume(self, trials: Sequence[TrialView]) -> None:
        """Take over what an earlier command finished."""
        self._views = {view.number: view for view in trials}
        self._counts = Counter(view.status for view in trials)
        self._epochs_before = self._epochs

    def update(self, trial: TrialView) -> None:
        """Show a change of a trial; a problem that many trials have is named once."""
        before = self._views.get(trial.number)
        if before is not None:
            self._counts[before.status] -= 1
        self._counts[trial.status] += 1
        self._views[trial.number] = trial
        if self._began is None and trial.status == "running":
            self._began, self._epochs_before = time.monotonic(), self._epochs
        if trial.problem and trial.problem not in self._problems:
            self._problems.add(trial.problem)
            self.say(f"trial {trial.number}: {trial.problem}")
        if self._loudness == "verbose" or not (self._is_live or self._is_quiet):
            self._print_plain(trial)

    def say(self, sentence: str) -> None:
        """Print a warning."""
        print_warning(self._console, sentence)

    def close(self) -> None:
        """Leave the table as it is now."""
        if self._is_live:
            self._live.stop()

    @property
    def trials(self) -> list[TrialView]:
        """All trials seen, in their latest state."""
        return list(self._views.values())

    @property
    def failures(self) -> list[TrialView]:
        """Trials that raised or lost their process."""
        return [view for view in self._views.values() if view.status == "failed" and view.error]

    @property
    def _is_quiet(self) -> bool:
        return self._loudness == "quiet"

    @property
    def _is_live(self) -> bool:
        return self._console.is_terminal and not self._is_quiet

    @property
    def _epochs(self) -> int:
        return sum(view.epoch for view in self._views.values())

    def _print_plain(self, trial: TrialView) -> None:
        if self._is_news(trial):
            self._console.print(self._line(trial), highlight=False, soft_wrap=True)
        if not self._is_live and time.monotonic() - self._summed_up_at > _SUMMARY_EVERY_S:
            self._summed_up_at = time.monotonic()
            self._console.print(self._summary(), highlight=False, soft_wrap=True)

    def _is_news(self, trial: TrialView) -> bool:
        now = time.monotonic()
        spoke_at = self._spoke_at.get(trial.number)
        if self._loudness == "verbose":
            return True
        if trial.status == "running" and spoke_at and now - spoke_at < _PLAIN_EVERY_S:
            return False
        self._spoke_at[trial.number] = now
        return True

    def _line(self, trial: TrialView) -> str:
        over = self._count(*_OVER)
        parts = [f"[{over}/{self._trials}]", f"trial {trial.number}", trial.status]
        if trial.epoch:
            parts.append(f"epoch {trial.epoch}/{self._max_epochs}")
        if trial.objective is not None:
            parts.append(f"{self._metric} {score(trial.objective)}")
        if trial.status == "running" and not trial.epoch:
            parts.append(settings_text(trial.values))
            if trial.warm_start:
                parts.append(f"(published: {trial.warm_start})")
        if trial.error:
            parts.append(trial.error)
        return "  ".join(parts)

    def _count(self, *statuses: str) -> int:
        return sum(self._counts[status] for status in statuses)

    def _render(self) -> RenderableType:
        return Group(self._table(), self._summary())

    def _table(self) -> Table:
        """A line for each trial that fits; settings without the keys that are the same in all."""
        shown = self._shown()
        own = {name for name, values in self._values().items() if len(values) > 1}
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading, justify in (
            ("trial", "right"),
            ("status", "left"),
            ("epoch", "right"),
            (f"best {self._metric}", "right"),
            ("settings", "left"),
        ):
            # Of columns that are too wide together, rich narrows those that may wrap.
            table.add_column(heading, justify=justify, no_wrap=heading != "settings")  # type: ignore[arg-type]
        best = self._best()
        for view in shown:
            differing = {name: value for name, value in view.values.items() if name in own}
            source = f"{view.warm_start}'s  " if view.warm_start else ""
            is_best = best is not None and view.number == best.number
            table.add_row(
                str(view.number),
                "best so far" if is_best and view.status == "finished" else view.status,
                f"{view.epoch}/{self._max_epochs}",
                score(view.objective),
                Text(
                    visible(source + settings_text(differing or view.values)),
                    no_wrap=True,
                    overflow="ellipsis",
                ),
                style="bold green" if is_best else _STYLES[view.status],
            )
        return table

    def _values(self) -> dict[str, set[object]]:
        """The values that each searched key has among all trials; absent counts as one."""
        names = {name for view in self._views.values() for name in view.values}
        return {name: {view.values.get(name) for view in self._views.values()} for name in names}

    def _shown(self) -> list[TrialView]:
        """The running trials, then the best of the others."""
        running = [view for view in self._views.values() if view.status == "running"]
        others = [view for view in self._views.values() if view.status != "running"]
        others = ranked(others, self._direction)
        room = max(3, _ROWS - len(running))
        return sorted(running, key=lambda view: view.number)[:_ROWS] + others[:room]

    def _best(self) -> TrialView | None:
        finished = [view for view in self._views.values() if view.status == "finished"]
        return next(iter(ranked(finished, self._direction)), None)

    def _summary(self) -> Text:
        best = self._best()
        line = f"{self._count(*_OVER)}/{self._trials} trials done, {self._count('running')} running"
        if waiting := self._count("paused"):
            line += f", {waiting} paused"
        if best is not None:
            line += f"; best {self._metric} {score(best.objective)} (trial {best.number})"
        if self._published:
            line += f"; {self._published}"
        return Text(f"{line}; {self._time_left()}", style="bold")

    def _time_left(self) -> str:
        """An estimate for the search: the epochs left at the pace of this command."""
        done = self._epochs - self._epochs_before
        if self._began is None or done < 1:
            return "time left unknown yet"
        left = epochs_left(
            (
                Progress(view.epoch, view.status, view.warm_start is not None)
                for view in self._views.values()
            ),
            in_all=self._trials,
            max_epochs=self._max_epochs,
            scheduler=self._scheduler,
        )
        return f"about {duration(left * (time.monotonic() - self._began) / done)} left"


def ranked(trials: Iterable[TrialView], direction: Direction) -> list[TrialView]:
    """Trials by their objective, the best first; those without one last."""

    def key(view: TrialView) -> tuple[bool, float]:
        return view.objective is None, signed_loss(view.objective or 0.0, direction)

    return sorted(trials, key=key)


def open_console(stream: TextIO | None = None, *, quiet: bool = False) -> Console:
    """The console of a command: as wide as the terminal, and wide where there is none.

    Args:
        stream: where it prints; None: the stream that is stdout now, whatever that is while Ray
            is used.
        quiet: whether it prints nothing.
    """
    console = _PlainConsole(file=stream or sys.stdout, quiet=quiet)
    wide = not console.is_terminal
    return _PlainConsole(file=console.file, width=140, quiet=quiet) if wide else console


class _PlainConsole(Console):
    """Reads no markup but this program's own, and no control characters.

    Rich takes ``[link=..]`` in a file's name for markup, fails on ``[/]`` there, and lets escape
    sequences through.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Text with our own tags as styles, and everything else as it is written."""
        shown = visible(text)
        try:
            return super().render_str(
                _FOREIGN.sub(r"\\\g<0>", shown), **{**options, "emoji": False}
            )
        except MarkupError:
            return super().render_str(shown, **{**options, "emoji": False, "markup": False})


def print_warning(console: Console, sentence: str) -> None:
    """Print what the user has to know, but that stops nothing."""
    console.print(f"[bold yellow]warning:[/] {escape(sentence)}", soft_wrap=True)


def print_rows(console: Console, rows: Mapping[str, str]) -> None:
    """Print labelled lines; labels ``note``, ``note1`` .. stand for several lines of one."""
    for name, text in rows.items():
        label = "" if name.startswith("note") and name != "note" else name
        console.print(f"{label:<10} {escape(text)}", highlight=False, soft_wrap=True)


def print_left_out(console: Console, damaged: Sequence[StorageError]) -> None:
    """Name what cannot be read, each with its way out; the rest is used."""
    for fault in damaged:
        console.print(f"[bold yellow]left out:[/] {escape(str(fault))}", soft_wrap=True)


def settings_text(values: Mapping[str, object]) -> str:
    """Searched settings in a line, without their groups: ``gamma=0.99 learning_rate=0.005``."""
    return " ".join(f"{name.rpartition('.')[2]}={number(value)}" for name, value in values.items())
