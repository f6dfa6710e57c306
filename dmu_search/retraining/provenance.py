"""Where a configuration came from: what a reader needs to trust or repeat it."""

import platform
import time
from collections.abc import Mapping

import dmu_search
from dmu_search.data import Data
from dmu_search.tracking.origin import code_commit, package_versions


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
