"""The MIDI files of a folder or an archive, one after the other, in memory."""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from dmu_search.errors import DataError

MIDI_SUFFIXES = (".mid", ".midi")
TAR_SUFFIXES = (".tar.gz", ".tgz", ".tar")
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip")
# The largest known collections stay far below it; more is a file of another kind, or a trap.
LARGEST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class MidiFile:
    """One file of a collection.

    Args:
        name: path below the folder or inside the archive, printable.
        content: its bytes; empty where they cannot be had.
        fault: why they cannot be had, or None.
    """

    name: str
    content: bytes
    fault: str | None = None


def midi_files(source: Path) -> Iterator[MidiFile]:
    """All files named ``.mid`` or ``.midi`` in a folder, its subfolders, or an archive.

    Hidden ones and what macOS adds (``__MACOSX``) are passed over; a link inside an archive is
    none of its files. Nothing is unpacked to disk. A file that cannot be read comes with its fault.

    Args:
        source: an existing folder, or a file with one of ``ARCHIVE_SUFFIXES``.

    Raises:
        DataError: the archive as a whole, or its rest, cannot be read.
    """
    if source.is_dir():
        yield from _in_folder(source)
        return
    read = _in_zip if source.name.lower().endswith(".zip") else _in_tar
    try:
        yield from read(source)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{source}: truncated, damaged or no archive ({error}); replace it by an intact copy"
        ) from error


def _in_folder(source: Path) -> Iterator[MidiFile]:
    closed: list[OSError] = []
    for folder, subfolders, names in os.walk(source, onerror=closed.append):
        subfolders.sort()
        for path in (Path(folder, name) for name in sorted(names)):
            name = path.relative_to(source).as_posix()
            if _is_midi(name):
                yield _read(name, partial(_size_bytes, path), read=path.read_bytes)
    for error in closed:
        yield MidiFile(_printable(str(error.filename)), b"", f"a folder: {error.strerror}")


def _in_tar(source: Path) -> Iterator[MidiFile]:
    with tarfile.open(source) as archive:
        for member in archive:
            if member.isfile() and _is_midi(member.name):
                stream = archive.extractfile(member)
                assert stream is not None, "a regular file has content"
                yield _read(member.name, partial(int, member.size), read=stream.read)
        # The module takes an archive cut off between two members for a whole one.
        assert archive.fileobj is not None, "an open archive has its file"
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(1) != b"\0":
            raise tarfile.ReadError("its end is missing")


def _in_zip(source: Path) -> Iterator[MidiFile]:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            if not member.is_dir() and _is_midi(member.filename):
                size_bytes = partial(int, member.file_size)
                yield _read(member.filename, size_bytes, read=partial(archive.read, member))


def _is_midi(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") and part != ".." for part in path.parts)
    return path.suffix.lower() in MIDI_SUFFIXES and not hidden and "__MACOSX" not in path.parts


def _size_bytes(path: Path) -> int:
    if not path.is_file():
        raise OSError("no regular file")
    return path.stat().st_size


def _read(name: str, size_bytes: Callable[[], int], *, read: Callable[[], bytes]) -> MidiFile:
    """Read one file, unless its declared size says that it is none."""
    name = _printable(name)
    try:
        if size_bytes() > LARGEST_BYTES:
            return MidiFile(name, b"", f"larger than {LARGEST_BYTES // 2**20} MiB")
        return MidiFile(name, read())
    # An encrypted member is a RuntimeError, an unknown compression a NotImplementedError.
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return MidiFile(name, b"", f"cannot be read ({reason:.100})")


def _printable(name: str) -> str:
    """A name that every terminal and file takes, whatever bytes it was made of."""
    return name.encode("utf-8", "backslashreplace").decode()
