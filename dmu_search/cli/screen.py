"""What a search shows while it runs: a live table, or plain lines where there is no terminal."""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.errors import MarkupError
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dmu_search.errors import StorageError
from dmu_search.names import Direction, signed_loss
from dmu_search.report.words import duration, number, score, visible
from dmu_search.tune.progress import TrialView

_ROWS = 12
# Seconds between two plain lines about the same running trial.
_PLAIN_EVERY_S = 15.0
# What looks like a tag of rich's and is none of ours.
_FOREIGN = re.compile(
    r"(?<!\\)\[(?=[a-z#/@][^\[]*?\])(?!(?:bold|bold red|bold yellow|red|yellow|green|/)\])"
)
_OVER = ("finished", "stopped early", "diverged", "failed")


class SearchScreen:
    """Shows a study's trials; a ``Watcher``, used as a context.

    Args:
        console: where to.
        trials: of the study in all.
        max_epochs: of a trial that is not stopped early.
        metric: name of the objective.
        direction: whether a small or a large one is good.
        published: the paper's value, in words; None where there is none.
    """

    def __init__(
        self,
        console: Console,
        *,
        trials: int,
        max_epochs: int,
        metric: str,
        direction: Direction,
        published: str | None,
    ) -> None:
        self._console = console
        self._trials = trials
        self._max_epochs = max_epochs
        self._metric = metric
        self._direction: Direction = direction
        self._published = published
        self._views: dict[int, TrialView] = {}
        self._counts: Counter[str] = Counter()
        self._began = time.monotonic()
        self._epochs_before = 0
        self._spoke_at: dict[int, float] = {}
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
        if self._console.is_terminal:
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
        self._epochs_before = sum(view.epoch for view in trials)

    def update(self, trial: TrialView) -> None:
        """Show a change of a trial; a problem that many trials have is named once."""
        before = self._views.get(trial.number)
        if before is not None:
            self._counts[before.status] -= 1
        self._counts[trial.status] += 1
        self._views[trial.number] = trial
        if trial.problem and trial.problem not in self._problems:
            self._problems.add(trial.problem)
            self.say(f"trial {trial.number}: {trial.problem}")
        if not self._console.is_terminal and self._is_news(trial):
            self._console.print(self._line(trial), highlight=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """Print a warning."""
        print_warning(self._console, sentence)

    def close(self) -> None:
        """Leave the table as it is now."""
        if self._console.is_terminal:
            self._live.stop()

    @property
    def trials(self) -> list[TrialView]:
        """All trials seen, in their latest state."""
        return list(self._views.values())

    @property
    def failures(self) -> list[TrialView]:
        """Trials that raised or lost their process."""
        return [view for view in self._views.values() if view.status == "failed" and view.error]

    def _is_news(self, trial: TrialView) -> bool:
        now = time.monotonic()
        spoke_at = self._spoke_at.get(trial.number)
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
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading, justify in (
            ("trial", "right"),
            ("status", "left"),
            ("epoch", "right"),
            (f"best {self._metric}", "right"),
            ("settings", "left"),
        ):
            table.add_column(heading, justify=justify, no_wrap=heading != "settings")  # type: ignore[arg-type]
        for view in self._shown():
            table.add_row(
                str(view.number),
                view.status,
                f"{view.epoch}/{self._max_epochs}",
                score(view.objective),
                settings_text(view.values) + (f"  ({view.warm_start})" if view.warm_start else ""),
            )
        return table

    def _shown(self) -> list[TrialView]:
        """The running trials, then the best of the others."""
        running = [view for view in self._views.values() if view.status == "running"]
        others = [view for view in self._views.values() if view.status != "running"]
        others = ranked(others, self._direction)
        room = max(3, _ROWS - len(running))
        return sorted(running, key=lambda view: view.number)[:_ROWS] + others[:room]

    def _summary(self) -> Text:
        finished = [view for view in self._views.values() if view.status == "finished"]
        best = next(iter(ranked(finished, self._direction)), None)
        line = f"{self._count(*_OVER)}/{self._trials} trials done, {self._count('running')} running"
        if best is not None:
            line += f"; best {self._metric} {score(best.objective)} (trial {best.number})"
        if self._published:
            line += f"; {self._published}"
        return Text(f"{line}; {self._time_left()}", style="bold")

    def _time_left(self) -> str:
        """An estimate from the epochs done so far by this command."""
        elapsed = time.monotonic() - self._began
        done = sum(view.epoch for view in self._views.values()) - self._epochs_before
        over = [view.epoch for view in self._views.values() if view.status in _OVER]
        if done < 1:
            return "time left unknown yet"
        per_trial = sum(over) / len(over) if over else self._max_epochs
        running = sum(
            max(0.0, per_trial - v.epoch) for v in self._views.values() if v.status == "running"
        )
        waiting = max(0, self._trials - len(self._views)) * per_trial
        return f"about {duration((running + waiting) * elapsed / done)} left"


def ranked(trials: Iterable[TrialView], direction: Direction) -> list[TrialView]:
    """Trials by their objective, the best first; those without one last."""

    def key(view: TrialView) -> tuple[bool, float]:
        return view.objective is None, signed_loss(view.objective or 0.0, direction)

    return sorted(trials, key=key)


def open_console(stream: TextIO | None = None) -> Console:
    """The console of a command: as wide as the terminal, and wide where there is none.

    Args:
        stream: where it prints; None: the stream that is stdout now, whatever that is while Ray
            is used.
    """
    console = _PlainConsole(file=stream or sys.stdout)
    return console if console.is_terminal else _PlainConsole(file=console.file, width=140)


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
