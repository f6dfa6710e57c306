"""The command ``sync``: records, or compact results, brought into MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dmu_search.cli.screen import open_console, print_warning
from dmu_search.config.grammar import parse_overrides
from dmu_search.config.keys import check_path
from dmu_search.config.roots import default_of
from dmu_search.config.settings import TrackingSettings
from dmu_search.errors import ConfigError
from dmu_search.exit_codes import DONE, SOME_FAILED
from dmu_search.folders import OutputFolder
from dmu_search.results.compact import RUNS, events_of, read_compact
from dmu_search.tracking import bring_in, sync_records


def sync(words: Sequence[str], *, dry_run: bool) -> int:
    """Bring the records in the given folder into MLflow; returns the exit code.

    A run that MLflow refuses is named, and keeps no other from it.

    Raises:
        ConfigError: no such folder, or nothing in it.
        StorageError: what is there is damaged.
        TrackingError: MLflow cannot be reached.
    """
    folders = [word for word in words if "=" not in word]
    given = parse_overrides("sync", [word for word in words if "=" in word])
    if len(folders) != 1:
        example = OutputFolder(Path(str(default_of("output_dir")))).records
        raise ConfigError(f"sync takes one folder of records, as in `sync {example}`")
    try:
        folder = Path(check_path(folders[0]))
    except ValueError as fault:
        raise ConfigError(f"the folder of records {fault}") from None
    records, compact = list(folder.glob("*.jsonl")), (folder / RUNS).is_file()
    if not records and not compact:
        raise ConfigError(
            f"{folder}: holds neither records (files *.jsonl) nor {RUNS}; check the path"
        )
    uri = given.get("tracking.uri")
    if uri == "none":
        raise ConfigError("tracking.uri: sync brings records into MLflow, so it cannot be none")
    output_dir = Path(str(given.get("output_dir", default_of("output_dir"))))
    settings = TrackingSettings(
        uri=None if uri is None else str(uri),
        experiment=str(given.get("tracking.experiment", default_of("tracking.experiment"))),
    )
    console = open_console()
    # Of a run that is there in both forms the record has more.
    own = {path.stem for path in records}
    runs = read_compact(folder) if compact else ()
    kept = {run.run_id: events_of(run) for run in runs if run.run_id not in own}
    if dry_run:
        count = len(records) + len(kept)
        console.print(f"would bring {count} runs from {folder} into MLflow", highlight=False)
        return DONE
    refused: dict[str, str] = {}
    if records:
        refused |= sync_records(folder, settings, output_dir=output_dir)
    if kept:
        refused |= bring_in(kept, settings, output_dir=output_dir)
    count = len(records) + len(kept) - len(refused)
    console.print(f"{count} runs of {folder} are in MLflow", highlight=False)
    for reason in dict.fromkeys(refused.values()):
        print_warning(console, f"{_named(refused, reason)} not ({reason})")
    return SOME_FAILED if refused else DONE


def _named(refused: Mapping[str, str], reason: str) -> str:
    """The runs that were refused for one reason; of many, the first."""
    first, *others = sorted(run_id for run_id, why in refused.items() if why == reason)
    return f"{first} and {len(others)} more are" if others else f"{first} is"
