"""Where a configuration came from: what a reader needs to trust or repeat it."""

import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from subprocess import DEVNULL, CalledProcessError, check_output

import dmu_search
from dmu_search.data import Data

_PACKAGES = ("torch", "numpy", "ray", "optuna", "mlflow", "hydra-core")


def provenance(
    *, study: str, data: Data, metrics: Mapping[str, float], **more: object
) -> dict[str, object]:
    """What a reader needs to trust, or repeat, a configuration."""
    return {
        "study": study,
        **more,
        "metrics": dict(metrics),
        "data": {"name": data.name, "sha256": data.sha256, "sequences": dict(data.sequences)},
        "code": {"dmu_search": dmu_search.__version__, "commit": code_commit()},
        "packages": package_versions(),
        "python": platform.python_version(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


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
