"""The command ``sync``: records brought into MLflow."""

from collections.abc import Sequence
from pathlib import Path

from dmu_search.cli.screen import open_console
from dmu_search.config.grammar import parse_overrides
from dmu_search.config.keys import check_path
from dmu_search.config.roots import default_of
from dmu_search.config.settings import TrackingSettings
from dmu_search.errors import ConfigError
from dmu_search.exit_codes import DONE
from dmu_search.folders import OutputFolder
from dmu_search.tracking import sync_records


def sync(words: Sequence[str], *, dry_run: bool) -> int:
    """Bring the records in the given folder into MLflow; returns the exit code.

    Raises:
        ConfigError: no such folder, or nothing in it.
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
    if not any(folder.glob("*.jsonl")):
        raise ConfigError(f"{folder}: holds no records (files *.jsonl); check the path")
    uri = given.get("tracking.uri")
    if uri == "none":
        raise ConfigError("tracking.uri: sync brings records into MLflow, so it cannot be none")
    output_dir = Path(str(given.get("output_dir", default_of("output_dir"))))
    settings = TrackingSettings(
        uri=None if uri is None else str(uri),
        experiment=str(given.get("tracking.experiment", default_of("tracking.experiment"))),
    )
    console = open_console()
    if dry_run:
        count = len(list(folder.glob("*.jsonl")))
        console.print(f"would bring {count} runs from {folder} into MLflow", highlight=False)
        return DONE
    count = sync_records(folder, settings, output_dir=output_dir)
    console.print(f"{count} runs of {folder} are in MLflow", highlight=False)
    return DONE
