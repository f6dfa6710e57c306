"""Where a run comes from: code, command, user, machine and versions."""

import getpass
import platform
import shlex
import socket
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from subprocess import DEVNULL, CalledProcessError, check_output

import torch

import dmu_search

_PACKAGES = ("torch", "numpy", "ray", "optuna", "mlflow", "hydra-core")


@cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


@cache
def code_commit() -> str:
    """The commit of the repository that the package is run from, with ``+`` for local changes."""
    folder = Path(dmu_search.__file__).resolve().parent
    if not (folder.parent / ".git").exists():
        return "installed"
    try:
        commit = check_output(["git", "-C", str(folder), "rev-parse", "HEAD"], stderr=DEVNULL)
        status = ["git", "-C", str(folder), "status", "--porcelain", "-uno"]
        changed = check_output(status, stderr=DEVNULL)
    except (CalledProcessError, OSError):
        return "unknown"
    return commit.decode().strip() + ("+" if changed.strip() else "")


def origin_tags(*, gpus: float = 0.0) -> dict[str, str]:
    """Tags of a run of this process; those that begin with ``mlflow.`` fill columns of its own.

    Args:
        gpus: that the run may use, or its share of one.
    """
    on_gpu = bool(gpus) and torch.cuda.is_available()
    commit = code_commit()
    versions = {"dmu_search": dmu_search.__version__, **package_versions()}
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.name": "dmu_search " + " ".join(sys.argv[1:2]),
        "mlflow.source.type": "LOCAL",
        "command": shlex.join(["python", "-m", "dmu_search", *sys.argv[1:]])[:5000],
        "host": socket.gethostname(),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }
    if len(commit.rstrip("+")) == 40:
        tags["mlflow.source.git.commit"] = commit.rstrip("+")
        tags["local_changes"] = "yes" if commit.endswith("+") else "no"
    return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a number that has no name.
        return "unknown"
