"""What a command says of MLflow: where its runs are, and what is not there yet."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from dmu_search.cli.invocation import PORT, serve_command, sync_command
from dmu_search.cli.screen import print_warning
from dmu_search.config.settings import TrackingSettings
from dmu_search.tracking import SETTLED_WITHIN_S, Tracking, open_tracking


@contextmanager
def tracked(
    console: Console, settings: TrackingSettings, *, output_dir: Path
) -> Iterator[Tracking]:
    """Tracking for a ``with`` block; whatever ends the block, what MLflow lacks then is said.

    Args:
        console: to say it on.
        settings: of the store.
        output_dir: of the records.

    Raises:
        TrackingError: an address that cannot be right, or where nobody answers.
    """
    with open_tracking(settings, output_dir) as tracking:
        try:
            yield tracking
        finally:
            if not tracking.settled:
                print_unsent(console, tracking, settings=settings)


def print_unsent(
    console: Console,
    tracking: Tracking,
    *,
    settings: TrackingSettings,
    within_s: float = SETTLED_WITHIN_S,
) -> None:
    """Wait for a while until MLflow has everything, and say what it lacks if it has not."""
    for sentence in tracking.news():
        print_warning(console, sentence)
    unsent = tracking.settle(within_s)
    if unsent is None:
        return
    records = tracking.recorder.folder
    sync = sync_command(records, settings, output_dir=records.parent)
    runs = {0: "the runs", 1: "1 run"}.get(unsent.runs, f"{unsent.runs} runs")
    console.print(
        f"MLflow lacks a part of {runs} ({unsent.reason}); the records are whole, and this brings "
        f"them in, as a resume does:\n  {sync}",
        highlight=False,
        soft_wrap=True,
    )


def print_where_to_look(
    console: Console,
    tracking: Tracking,
    *,
    run_ids: Sequence[str],
    settings: TrackingSettings,
    task: str | None = None,
) -> None:
    """Say how to see the runs in MLflow, or how to bring them there.

    Args:
        console: to say it on.
        tracking: where they went.
        run_ids: of the runs.
        settings: of the store.
        task: whose table and charts are linked to as well; None: none are.
    """
    print_unsent(console, tracking, settings=settings)
    for line in _where_to_look(tracking, run_ids, settings=settings, task=task):
        console.print(line, highlight=False, soft_wrap=True)


def _where_to_look(
    tracking: Tracking, run_ids: Sequence[str], *, settings: TrackingSettings, task: str | None
) -> list[str]:
    records = tracking.recorder.folder
    if tracking.uri is None:
        sync = sync_command(records, settings, output_dir=records.parent)
        return [f"Records are in {records}; to bring them into MLflow:", f"  {sync}"]
    found = tracking.pages(run_ids)
    pages = {
        "this run" if len(run_ids) == 1 else run_id: found[run_id].path
        for run_id in run_ids
        if run_id in found
    }
    if not pages:
        return []
    pages = (tracking.views(task) if task is not None else {}) | pages
    if tracking.is_server:
        return ["MLflow pages:", *_aligned(pages, tracking.uri.rstrip("/"))]
    return [
        "To see the runs in MLflow:",
        f"  {serve_command(tracking.uri)}",
        "and open",
        *_aligned(pages, f"http://127.0.0.1:{PORT}"),
    ]


def _aligned(pages: Mapping[str, str], address: str) -> list[str]:
    width = max(map(len, pages), default=0)
    return [f"  {name:<{width}}  {address}{page}" for name, page in pages.items()]
