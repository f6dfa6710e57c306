"""What a user types, and opens, next."""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from dmu_search.config.roots import default_of
from dmu_search.config.settings import TrackingSettings

PORT = 5000
# Ray sets it for the command of a job.
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
STOP_WAIT_S = "120"


def python_command() -> str:
    """The running interpreter as a shell finds it: ``python``, or a path like ``.venv/bin/python``.

    A command that is printed must work when it is pasted, also where no environment is activated.
    """
    # Folders are compared: an environment's python is a link to the one that made it.
    on_path = shutil.which("python")
    if on_path is not None and Path(on_path).parent == Path(sys.executable).parent:
        return "python"
    own = Path(sys.executable)
    return shlex.quote(str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own))


def command(*words: str) -> str:
    """A command line of this program, quoted for a shell."""
    return f"{python_command()} -m dmu_search {shlex.join(words)}"


def in_job(words: str) -> str:
    """A command line as it is typed where this process was: as a job, inside a job of Ray's.

    `ray job stop` kills after three seconds, unless the job says that ending in order takes longer.
    """
    if _JOB not in os.environ:
        return words
    patience = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": STOP_WAIT_S}})
    return f"ray job submit --runtime-env-json {shlex.quote(patience)} -- {words}"


def folder_words(output_dir: Path) -> list[str]:
    """The word that names the folder of results, where it is not the usual one."""
    usual = str(output_dir) == str(default_of("output_dir"))
    return [] if usual else [f"output_dir={output_dir}"]


def sync_command(records: Path, settings: TrackingSettings, *, output_dir: Path) -> str:
    """What brings records into the store that ``settings`` name."""
    uri = [] if settings.uri in (None, "none") else [f"tracking.uri={settings.uri}"]
    other = settings.experiment != default_of("tracking.experiment")
    experiment = [f"tracking.experiment={settings.experiment}"] if other else []
    return command("sync", str(records), *uri, *experiment, *folder_words(output_dir))


def serve_command(uri: str) -> str:
    """What serves the pages of a local store."""
    store = shlex.quote(uri)
    return f"{python_command()} -m mlflow server --backend-store-uri {store} --port {PORT}"
