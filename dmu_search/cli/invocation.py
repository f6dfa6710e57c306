"""What a user types, and opens, next."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from dmu_search.tracking import Tracking

_PORT = 5000
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


def where_to_look(tracking: Tracking, run_ids: Sequence[str]) -> list[str]:
    """Lines that say how to see the runs in MLflow, or how to bring them there."""
    sync = "  " + command("sync", str(tracking.recorder.folder))
    runs = tracking.runs
    if runs is None:
        return [f"Records are in {tracking.recorder.folder}; to bring them into MLflow:", sync]
    if tracking.lost is not None:
        return [
            f"MLflow was lost on the way ({tracking.lost}); the records are whole. Later:",
            sync,
        ]
    pages = [page for run_id in run_ids if (page := runs.page(run_id)) is not None]
    if runs.is_server:
        return ["MLflow pages:", *(f"  {runs.uri.rstrip('/')}{page}" for page in pages)]
    return [
        "To see the runs in MLflow:",
        f"  {serve_command(runs.uri)}",
        "and open",
        *(f"  http://127.0.0.1:{_PORT}{page}" for page in pages),
    ]


def serve_command(uri: str) -> str:
    """What serves the pages of a local store."""
    store = shlex.quote(uri)
    return f"{python_command()} -m mlflow server --backend-store-uri {store} --port {_PORT}"
