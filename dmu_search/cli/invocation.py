"""What a user types, and opens, next."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
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


def where_to_look(
    tracking: Tracking, run_ids: Sequence[str], *, task: str | None = None
) -> list[str]:
    """Lines that say how to see the runs in MLflow, or how to bring them there.

    Args:
        tracking: where they went.
        run_ids: of the runs.
        task: whose experiment is linked to as well; None: none is.
    """
    sync = "  " + command("sync", str(tracking.recorder.folder))
    runs = tracking.runs
    if runs is None:
        return [f"Records are in {tracking.recorder.folder}; to bring them into MLflow:", sync]
    if tracking.lost is not None:
        return [
            f"MLflow was lost on the way ({tracking.lost}); the records are whole. Later:",
            sync,
        ]
    named = {
        name: page
        for number, run_id in enumerate(run_ids, start=1)
        if (page := runs.page(run_id)) is not None
        for name in ["this run" if len(run_ids) == 1 else f"run {number}"]
    }
    pages = (runs.views(task) if task is not None else {}) | named
    if runs.is_server:
        return ["MLflow pages:", *_aligned(pages, runs.uri.rstrip("/"))]
    return [
        "To see the runs in MLflow:",
        f"  {serve_command(runs.uri)}",
        "and open",
        *_aligned(pages, f"http://127.0.0.1:{_PORT}"),
    ]


def _aligned(pages: Mapping[str, str], address: str) -> list[str]:
    width = max(map(len, pages), default=0)
    return [f"  {name:<{width}}  {address}{page}" for name, page in pages.items()]


def serve_command(uri: str) -> str:
    """What serves the pages of a local store."""
    store = shlex.quote(uri)
    return f"{python_command()} -m mlflow server --backend-store-uri {store} --port {_PORT}"
