"""A study's own page: description, table and plots, written beside its journal while it runs.

``python -m dmu_search.report.study_page FOLDER`` writes it every half a minute until its standard
input closes, then once more; with ``at-once`` behind it, it makes way for no other program. It
reads the study's files and writes none of them, so a fault in it stops nothing.
"""

import html
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from dmu_search.engine.tasks import task_class
from dmu_search.errors import DmuSearchError
from dmu_search.exit_codes import DONE, SOME_FAILED
from dmu_search.folders import OutputFolder, write_whole
from dmu_search.names import TASKS
from dmu_search.records import first_tags
from dmu_search.report.interactive import library, page_of
from dmu_search.report.page_process import NOTE_FILE, PAGE_FILE, PLOTS
from dmu_search.report.panels import Figure
from dmu_search.report.pictures import picture
from dmu_search.report.study_figures import Importances, figures
from dmu_search.report.study_note import header, levels, note, ranked, row, winner_of
from dmu_search.retraining.finalists import FinalRound
from dmu_search.study.files import Study, find_studies
from dmu_search.study.importance import importances
from dmu_search.study.stopping import Rungs

# Pages with one plot each, which share plotly's code. MLflow shows a page by itself, so these stay
# in the folder.
SINGLE, _LIBRARY_FILE = "interactive", "plotly.js"
_EVERY_S = 30.0
_ROWS = 500


def write_study_page(study: Study, *, final: bool) -> None:
    """Write ``note.md``, ``study.html``, ``plots/*.png``; at the end ``interactive/*.html`` too.

    Raises:
        StorageError: the journal is damaged, or the folder cannot be written.
    """
    settings = study.settings
    chosen = FinalRound(study)
    trials = chosen.trials
    shares = importances(trials, space=settings.space, direction=TASKS[settings.task].direction)
    drawn = study_figures(study, chosen, importances=shares)
    text = note(
        trials,
        settings,
        confirmation=chosen.confirmation,
        why_unconfirmed=chosen.why_unconfirmed,
        importances=shares,
    )
    for figure in drawn:
        write_whole(study.folder / PLOTS / f"{figure.name}.png", picture(figure))
        if final:
            alone = page_of(figure.title, "", figures=[figure], library_file=_LIBRARY_FILE)
            write_whole(study.folder / SINGLE / f"{figure.name}.html", alone.encode())
    if final and drawn:
        write_whole(study.folder / SINGLE / _LIBRARY_FILE, library().encode())
    top = text.partition("\n| ")[0]
    body = f"<h1>{html.escape(study.name)}</h1>{_summary(top)}{_table(study, chosen)}"
    write_whole(study.folder / PAGE_FILE, page_of(study.name, body, figures=drawn).encode())
    # Last: whoever waits for the description finds the rest there.
    write_whole(study.folder / NOTE_FILE, text.encode())


def study_figures(
    study: Study, chosen: FinalRound, *, importances: Importances
) -> tuple[Figure, ...]:
    """The figures of a study as it stands.

    Args:
        study: whose journal is read.
        chosen: its finalists.
        importances: of the searched keys.
    """
    settings, trials = study.settings, chosen.trials
    record = OutputFolder(settings.output_dir).records / f"{study.name}.jsonl"
    data_name = first_tags(record).get("data.name", "")
    winner = winner_of(trials, settings, confirmation=chosen.confirmation)
    return tuple(
        figures(
            trials,
            space=settings.space,
            metric=f"val_{task_class(settings.task).objective}",
            rungs=Rungs.of(
                settings.grace_epochs,
                settings.max_epochs,
                reduction_factor=settings.search.reduction_factor,
                direction=TASKS[settings.task].direction,
            ),
            winner=None if winner is None else winner.number,
            levels=levels(trials, settings, data_name=data_name),
            importances=importances,
        )
    )


def _summary(text: str) -> str:
    """The few marks of Markdown that ``note`` uses, as HTML."""
    lines = []
    for line in text.splitlines():
        if line.startswith("Artifacts:") or not line:
            continue
        words = html.escape(line.replace("\\", "").replace("**", "").strip("#- "))
        strong = line.startswith(("#", "*"))
        lines.append(f"<p><b>{words}</b></p>" if strong else f"<div>{words}</div>")
    return "".join(lines)


def _table(study: Study, chosen: FinalRound) -> str:
    settings = study.settings
    heads = "".join(f"<th>{html.escape(cell)}</th>" for cell in header(settings))
    rows = [
        "<tr>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row(rank, trial, settings=settings))
        for rank, trial in enumerate(ranked(chosen.trials, settings), start=1)
    ]
    first, others = (
        f'<div class="wide"><table><tr>{heads}</tr>{"".join(part)}</table></div>'
        for part in (rows[:_ROWS], rows[_ROWS:])
    )
    if rows[_ROWS:]:
        # A browser lays out what is folded up once it is looked at.
        first += f"<details><summary>{len(rows) - _ROWS} more</summary>{others}</details>"
    return f"<h2>All trials</h2>{first}"


def main(folder: Path, closed: threading.Event) -> int:
    """Write the page until ``closed`` is set, and once more then; returns an exit code."""
    (study,) = find_studies(folder.parent.parent, folder.name, given={})
    while True:
        ending = closed.is_set()
        began = time.monotonic()
        fault: DmuSearchError | None = None
        try:
            write_study_page(study, final=ending)
        except DmuSearchError as found:
            fault = found
        if ending:
            if fault is not None:
                print(fault, file=sys.stderr)
            return DONE if fault is None else SOME_FAILED
        closed.wait(max(_EVERY_S, 10 * (time.monotonic() - began)))


def _listen(closed: threading.Event) -> None:
    with suppress(OSError, ValueError):
        sys.stdin.buffer.read()
    closed.set()


def _make_way() -> None:
    """Take what the study leaves of the machine."""
    os.nice(10)
    # Linux shares a core between sessions first, and this is a session of its own.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("10")


if __name__ == "__main__":
    if "at-once" not in sys.argv[2:]:
        _make_way()
    over = threading.Event()
    threading.Thread(target=_listen, args=(over,), daemon=True).start()
    sys.exit(main(Path(sys.argv[1]).resolve(), over))
