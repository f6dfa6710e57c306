"""The records of a study's trials, brought in line with its journal."""

from collections.abc import Mapping
from pathlib import Path

from dmu_search.errors import StorageError
from dmu_search.folders import OutputFolder, set_aside
from dmu_search.records import (
    Recorder,
    closes,
    epochs_of,
    read_record,
    record_files,
    same_results,
)
from dmu_search.study.files import Study
from dmu_search.study.mending import Found
from dmu_search.study.trials import TrialState
from dmu_search.tracking.trial_runs import TrialRuns


def trial_records(records: Path, study_name: str) -> dict[int, Path]:
    """The records of a study's trials, by number, whatever is in them."""
    prefix = f"{study_name}."
    numbers = {
        path: path.stem.removeprefix(prefix)
        for path in record_files(records)
        if path.stem.startswith(prefix)
    }
    return {int(text): path for path, text in numbers.items() if text.isdecimal()}


def check_trial_records(study: Study) -> None:
    """Find out, before a study is resumed, whether its records can be carried on.

    Raises:
        StorageError: every one that is damaged.
    """
    records = OutputFolder(study.settings.output_dir).records
    own = records / f"{study.name}.jsonl"
    faults = []
    for path in [*trial_records(records, study.name).values(), *([own] if own.is_file() else [])]:
        try:
            read_record(path)
        except StorageError as fault:
            faults.append(str(fault))
    if faults:
        raise StorageError(*faults)


def check_records_of(study: Study, trials: Mapping[int, TrialState]) -> list[Found]:
    """The records of a study and its trials against its journal."""
    records = OutputFolder(study.settings.output_dir).records
    there = trial_records(records, study.name)
    runs = TrialRuns(study, Recorder(records))
    found = [
        one
        for number, trial in trials.items()
        if (one := _check_trial(trial, there.get(number), runs=runs)) is not None
    ]
    for number, path in there.items():
        if number not in trials:
            found.append(_unknown(path))
    found += _check_own(records / f"{study.name}.jsonl")
    return found or [Found("records", f"those of {len(trials)} trials agree with the journal")]


def _check_trial(trial: TrialState, path: Path | None, *, runs: TrialRuns) -> Found | None:
    name = f"trial {trial.number}"
    if path is None:
        if not trial.metrics and not trial.over:
            return None
        return Found("records", f"{name}: is missing", _ANEW, lambda: runs.rewrite(trial))

    def rewrite() -> None:
        set_aside(path)
        runs.rewrite(trial)

    try:
        recorded = epochs_of(path)
        closed = closes(read_record(path))
    except StorageError as fault:
        return Found("records", str(fault).partition("; ")[0], _ANEW, rewrite)
    if any(
        epoch not in trial.metrics or not same_results(trial.metrics[epoch], values)
        for epoch, values in recorded.items()
    ):
        return Found("records", f"{name}: says other than the journal", _ANEW, rewrite)
    if len(recorded) < len(trial.metrics) or (trial.over and not closed):

        def catch_up() -> None:
            runs.begin(trial)
            runs.finish(trial)

        return Found("records", f"{name}: is behind the journal", "brought up to it", catch_up)
    return None


_ANEW = "written anew from the journal; what was there is beside it as .damaged-TIME"


def _unknown(path: Path) -> Found:
    return Found(
        "records",
        f"{path.name}: is of a trial that the journal does not know",
        "set aside as .damaged-TIME, for the study will try another under this number",
        lambda: set_aside(path),
    )


def _check_own(path: Path) -> list[Found]:
    """The record of the study itself: its journal cannot give that back, but a resume begins it."""
    if not path.exists():
        return []
    try:
        read_record(path)
    except StorageError as fault:
        remedy = "set aside as .damaged-TIME; the next resume begins it anew"
        state = str(fault).partition("; ")[0]
        return [Found("records", state, remedy, lambda: set_aside(path))]
    return []
