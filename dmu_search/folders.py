"""Folders of results: what lies where, whether they can be written, and making them."""

import errno
import fcntl
import itertools
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import uuid4

from dmu_search.errors import ConfigError, StorageError


@dataclass(frozen=True)
class OutputFolder:
    """What lies where under ``output_dir``.

    Attributes:
        root: the folder itself.
    """

    root: Path

    @property
    def records(self) -> Path:
        """A record of every run."""
        return self.root / "records"

    @property
    def sent(self) -> Path:
        """How far each record has come into each tracking store."""
        return self.root / "sent"

    @property
    def retrained(self) -> Path:
        """A folder for each training of ``train`` and ``reproduce``."""
        return self.root / "retrained"

    @property
    def best(self) -> Path:
        """The best settings found, by task and data."""
        return self.root / "best"

    @property
    def studies(self) -> Path:
        """A folder for each study."""
        return self.root / "studies"

    @property
    def plans(self) -> Path:
        """Plans that are carried to other machines."""
        return self.root / "plans"

    @property
    def repeated(self) -> "OutputFolder":
        """Recorded runs trained again, apart from all others."""
        return OutputFolder(self.root / "repeated")

    @property
    def generated(self) -> Path:
        """What trained networks wrote."""
        return self.root / "generated"

    @property
    def report(self) -> Path:
        """Tables and figures."""
        return self.root / "report"


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
    try:
        while not existing.exists():
            existing = existing.parent
    except OSError as fault:
        raise not_writable(folder, str(fault.strerror)) from None
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
def claimed(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes that ask for it out of ``folder`` for the length of a ``with`` block.

    The claim ends with the process, however that ends; on network file systems too.

    Args:
        folder: made where it is missing.
        wait: until whoever has it lets go, for work of moments.

    Raises:
        StorageError: another process has it, or it cannot be written.
    """
    make_folder(folder)
    path = folder / ".lock"
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as fault:
        raise not_writable(path, str(fault.strerror)) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            file.seek(0)
            raise StorageError(
                f"{folder}: is in use by {file.read().strip() or 'another process'}; wait for it "
                "or end it, or use another folder"
            ) from None
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        # Who it is only helps others to understand; on a full disk the claim holds without.
        with suppress(OSError):
            os.ftruncate(file.fileno(), 0)
            os.write(
                file.fileno(), f"{holder} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode()
            )
        yield


def is_claimed(folder: Path) -> bool:
    """Whether another process has ``folder`` at this moment."""
    try:
        with (folder / ".lock").open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def not_writable(path: Path, reason: str) -> StorageError:
    """The error for results that cannot be kept at ``path``."""
    return StorageError(
        f"{path}: cannot be written ({reason}); free space or choose another folder with "
        "output_dir=FOLDER"
    )


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, in a folder that is there, to be written in a ``with`` block.

    The block writes beside ``path``, and what it wrote is on the disk before it takes the name. So
    a reader never meets half of it, and a block that raises leaves ``path`` as it was.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """As ``replacing``, for results; makes the folder too.

    Raises:
        StorageError: it cannot be written.
    """
    make_folder(path.parent)
    try:
        with replacing(path) as file:
            yield file
    except OSError as fault:
        raise not_writable(path, str(fault.strerror)) from None


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` as ``written_whole`` does.

    Raises:
        StorageError: it cannot be written.
    """
    with written_whole(path) as file:
        file.write(content)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as fault:
        # Some network file systems cannot do this for a folder, and need not.
        if fault.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def set_aside(path: Path, *, copy: bool = False) -> None:
    """Give what is at ``path``, if anything, a name that ends with ``.damaged-`` and the time.

    Args:
        path: of a file or folder.
        copy: whether it also stays where it is.

    Raises:
        StorageError: the folder cannot be written.
    """
    beside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        if copy and path.is_file():
            write_whole(beside, path.read_bytes())
        elif path.exists() or path.is_symlink():
            path.rename(beside)
    except OSError as fault:
        raise not_writable(beside, str(fault.strerror)) from None


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


def make_named_folder(parent: Path, name: str) -> Path:
    """Make the folder ``name``, which must be new.

    Raises:
        ConfigError: it is there.
        StorageError: it cannot be made.
    """
    make_folder(parent)
    folder = parent / name
    try:
        folder.mkdir()
    except FileExistsError:
        raise ConfigError(f"name={name}: {folder} is there already; choose another name") from None
    except OSError as fault:
        raise not_writable(folder, str(fault.strerror)) from None
    return folder
