"""Folders of results: whether they can be written, and making them."""

import itertools
import os
from pathlib import Path

from dmu_search.errors import StorageError


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
