"""A user's own tasks and cells on their way to Ray's workers: by value, from a notebook too."""

import sys
from dataclasses import replace

from ray import cloudpickle

from dmu_search.names import TaskEntry, install, own_rows


def packed_own_rows() -> bytes:
    """The rows of this process, with the code of their classes; also of a module beside a script.

    Other machines of a cluster do not have such a module.
    """
    rows = own_rows()
    modules = {
        kind.__module__
        for kind in (
            *(entry.engine for entry in rows["tasks"].values()),
            *(build.args[0] for build in rows["models"].values()),
        )
    }
    by_value = [
        sys.modules[name]
        for name in modules
        if name != "__main__" and not name.startswith("dmu_search.")
    ]
    for module in by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        # The data travels by itself, once for all trials.
        tasks = {name: _without_data(entry) for name, entry in rows["tasks"].items()}
        packed: bytes = cloudpickle.dumps({**rows, "tasks": tasks})
    finally:
        for module in by_value:
            cloudpickle.unregister_pickle_by_value(module)
    return packed


def unpack_own_rows(packed: bytes) -> None:
    """Make the rows those of this process too."""
    install(**cloudpickle.loads(packed))


def _without_data(entry: TaskEntry) -> TaskEntry:
    return replace(entry, data="")
