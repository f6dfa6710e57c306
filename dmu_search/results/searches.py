"""The trials of searches as a CSV file beside the recorded trainings, a line per trial.

``searches.csv`` has ``study``, ``task``, ``model`` and ``depth``; ``data_name`` and
``data_sha256``, empty where the study's record is gone; ``trial``, from 0; ``source``, whose
setting it is (``paper``, ``released``), empty for a proposal; ``status``; ``epochs`` trained;
``objective``, the best validation result until then, empty where it had none; ``seconds`` spent
in these epochs; ``settings``, all of the trial's, as JSON; ``fresh``, the validation results over
fresh seeds of a finalist, with blanks between; ``winner``, ``yes`` for the setting that the study
ended with. Lines are sorted, so that another search only adds lines.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dmu_search.config.compose import as_yaml_value
from dmu_search.config.settings import PLACES
from dmu_search.errors import StorageError
from dmu_search.folders import OutputFolder, write_whole
from dmu_search.records import first_tags, raise_damage
from dmu_search.results.compact import csv_text
from dmu_search.study.files import Study
from dmu_search.study.trials import StudyState, TrialState

SEARCHES = "searches.csv"
_COLUMNS = (
    "study",
    "task",
    "model",
    "depth",
    "data_name",
    "data_sha256",
    "trial",
    "source",
    "status",
    "epochs",
    "objective",
    "seconds",
    "settings",
    "fresh",
    "winner",
)

Line = tuple[str, ...]


def add_searches(
    studies: Iterable[Study],
    folder: Path,
    *,
    on_damage: Callable[[StorageError], None] = raise_damage,
) -> int:
    """Add the trials of ended searches to those in ``folder``; returns how many it has now.

    Without any the folder stays as it is.

    Args:
        studies: searches; one has ended once all of its trials have and, where it has finalists,
            one of them has won.
        folder: of the compact forms.
        on_damage: told of each damaged journal; if it does not raise, the others are added.

    Raises:
        StorageError: what is there is damaged, or cannot be written; or a journal is damaged, and
            nobody takes it.
    """
    known = read_searches(folder)
    lines = {_key(line): line for line in known}
    for study in studies:
        try:
            lines |= {_key(line): line for line in _lines_of(study)}
        except StorageError as fault:
            on_damage(fault)
    ordered = [lines[key] for key in sorted(lines)]
    if ordered != known:
        write_whole(folder / SEARCHES, csv_text(_COLUMNS, ordered).encode())
    return len(ordered)


def read_searches(folder: Path) -> list[Line]:
    """The lines in ``folder``, without the headings; none where there is no file.

    Raises:
        StorageError: it is damaged.
    """
    path = folder / SEARCHES
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            headings, *lines = (tuple(line) for line in csv.reader(file))
        if headings != _COLUMNS or any(len(line) != len(_COLUMNS) for line in lines):
            raise ValueError("its columns are others")
        return sorted(lines, key=_key)
    except (OSError, ValueError, csv.Error) as fault:
        raise StorageError(f"{path}: cannot be read ({fault}); restore it") from None


def _key(line: Line) -> tuple[str, int]:
    return line[0], int(line[_COLUMNS.index("trial")])


def _lines_of(study: Study) -> Iterator[Line]:
    """A line for each trial of a search that has ended; else none."""
    state = StudyState.of(study.events())
    trials = [state.trials[number] for number in sorted(state.trials)]
    undecided = state.finalists is not None and state.finalists.winner is None
    if undecided or not all(trial.over for trial in trials):
        return
    records = OutputFolder(study.settings.output_dir).records
    tags = first_tags(records / f"{study.name}.jsonl")
    data = tags.get("data.name", ""), tags.get("data.sha256", "")
    for trial in trials:
        yield _line(study, trial, state=state, data=data)


def _line(study: Study, trial: TrialState, *, state: StudyState, data: tuple[str, str]) -> Line:
    own = study.settings
    settings = {
        name: as_yaml_value(value)
        for name, value in sorted({**own.fixed, **trial.values}.items())
        if name not in PLACES
    }
    finalists = state.finalists
    fresh = () if finalists is None else finalists.results.get(trial.number, ())
    winner = finalists is not None and finalists.winner == trial.number
    seconds = sum(each.get("epoch_wall_time_s", 0.0) for each in trial.metrics.values())
    return (
        study.name,
        own.task,
        own.model,
        str(own.depth),
        *data,
        str(trial.number),
        trial.source or "",
        trial.status,
        str(trial.epoch),
        "" if trial.objective is None else repr(trial.objective),
        repr(seconds),
        json.dumps(settings),
        " ".join(map(repr, fresh)),
        "yes" if winner else "",
    )
