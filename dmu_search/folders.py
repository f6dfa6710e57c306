"""Folders of results: whether they can be written, and making them."""

import fcntl
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dmu_search.errors import ConfigError, StorageError


def check_there(name: str, folder: Path) -> None:
    """Check that the folder given as ``name`` is there.

    Raises:
        ConfigError: it is not.
    """
    if not folder.is_dir():
        raise ConfigError(f"{name}: there is no folder {folder}; check the path")


def check_writable(folder: Path) -> None:
    """Find out, without a trace, whether ``folder`` can be written or made.

    Raises:
        StorageError: it cannot.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise not_writable(folder, f"{existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise not_writable(folder, f"no permission for {existing}")


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise not_writable(folder, str(fault.strerror)) from None


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for it out of ``folder`` for the length of a ``with`` block.

    The claim ends with the process, however that ends.

    Raises:
        StorageError: another process has it, or it cannot be written.
    """
    make_folder(folder)
    path = folder / ".lock"
    try:
        file = path.open("w")
    except OSError as fault:
        raise not_writable(path, str(fault.strerror)) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(
                f"{folder}: another process is at work there; wait for it, or use another folder"
            ) from None
        yield


def not_writable(path: Path, reason: str) -> StorageError:
    """The error for results that cannot be kept at ``path``."""
    return StorageError(
        f"{path}: cannot be written ({reason}); free space or choose another folder with "
        "output_dir=FOLDER"
    )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file and its folder; a reader never meets half of it.

    Raises:
        StorageError: it cannot be written.
    """
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as fault:
        raise not_writable(path, str(fault.strerror)) from None


def make_unique_folder(parent: Path, name: str) -> Path:
    """Make a folder that nobody has yet: ``name``, or ``name-2`` and so on.

    Raises:
        StorageError: it cannot be made.
    """
    make_folder(parent)
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as fault:
            raise not_writable(folder, str(fault.strerror)) from None
        return folder
    raise AssertionError("counting never ends")
