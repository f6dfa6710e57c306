"""The files that data sets come from: where each one is, whether it is intact, how to fetch it.

A file is looked for in the cache folder, then in a mirror folder, then it is fetched from its
upstream address. This module alone imports pooch, and only when it needs it, so a machine that
has the files and names its cache folder works without pooch.
"""

import hashlib
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dmu_search.data.settings import DataSettings
from dmu_search.errors import DataError

MIRROR_VARIABLE = "DMU_SEARCH_DATA_MIRROR"
TIMEOUT_S = 30.0


class MissingFileError(DataError):
    """A data file that is in no folder and could not be fetched.

    Args:
        message: the whole sentence for the user.
        reason: only why the download failed.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True)
class DataFile:
    """One file of a data set, as its upstream publishes it.

    Args:
        name: path in the cache and in a mirror, with forward slashes.
        url: upstream address.
        size_bytes: exact size; None where upstream replaces the file from time to time.
        sha256: hexadecimal digest of the content; None likewise: any copy is taken, and runs record
            the digest of what was in it.
        citation: where the data comes from and under which terms.
        way_around: how to do without the file, added to its error messages; may be empty.
        served: whether ``url`` serves these bytes. Otherwise it is the page of what the file was
            made from, which has to be put in place by hand.
    """

    name: str
    url: str
    size_bytes: int | None
    sha256: str | None
    citation: str
    way_around: str = ""
    served: bool = True


@dataclass(frozen=True)
class DataStore:
    """The folders that data files are looked for in.

    Args:
        root: cache folder, which may be written; None is the user's cache folder.
        mirror: folder with copies that are used in place and never written; None is no mirror.
    """

    root: Path | None = None
    mirror: Path | None = None

    @classmethod
    def from_settings(cls, settings: DataSettings) -> "DataStore":
        """The folders of ``data.root`` and ``data.mirror``.

        Without ``data.mirror`` the variable ``DMU_SEARCH_DATA_MIRROR`` names the mirror; empty
        means unset.
        """
        mirror = settings.mirror or os.environ.get(MIRROR_VARIABLE)
        return cls(
            root=Path(settings.root).expanduser() if settings.root else None,
            mirror=Path(mirror).expanduser() if mirror else None,
        )

    @property
    def cache_folder(self) -> Path:
        """``root``, or the user's cache folder where none was named."""
        if self.root is not None:
            return self.root
        import pooch  # type: ignore[import-untyped]

        return Path(pooch.os_cache("dmu_search"))


@dataclass(frozen=True)
class FileStatus:
    """What the folders say about one data file.

    Args:
        data_file: the file in question.
        place: where it was found first.
        path: the file found, or None where it is missing.
        size_bytes: size of what was found, or None.
        problem: what is wrong with it; None where it is intact or missing.
    """

    data_file: DataFile
    place: Literal["cache", "mirror", "missing"]
    path: Path | None = None
    size_bytes: int | None = None
    problem: str | None = None

    @property
    def state(self) -> Literal["ok", "present", "altered", "missing"]:
        """One word for a table; ``present`` where there is no digest to tell it is intact."""
        if self.path is None:
            return "missing"
        if self.problem is not None:
            return "altered"
        return "present" if self.data_file.sha256 is None else "ok"


def file_status(data_file: DataFile, store: DataStore) -> FileStatus:
    """Find a file in the cache, then in the mirror, and check it; fetches nothing.

    Raises:
        DataError: the mirror folder does not exist.
    """
    if store.mirror is not None and not store.mirror.is_dir():
        raise DataError(
            f"{store.mirror}: this mirror folder does not exist; set data.mirror or "
            f"{MIRROR_VARIABLE} to an existing folder, or leave both unset"
        )
    folders: tuple[tuple[Literal["cache", "mirror"], Path | None], ...] = (
        ("cache", store.cache_folder),
        ("mirror", store.mirror),
    )
    for place, folder in folders:
        if folder is not None and os.path.lexists(path := folder / data_file.name):
            size_bytes = path.stat().st_size if path.is_file() else None
            return FileStatus(data_file, place, path, size_bytes, _fault(path, data_file))
    return FileStatus(data_file, "missing")


def locate(data_file: DataFile, store: DataStore) -> Path:
    """Path of an intact copy: from the cache, else from the mirror, else fetched into the cache.

    Args:
        data_file: what to look for.
        store: where to look.

    Returns:
        A file of the declared size and sha256, where they are declared. One in the mirror is used
        in place.

    Raises:
        MissingFileError: it is in neither folder and the download failed.
        DataError: a copy is truncated or altered, the mirror folder does not exist, or the cache
            folder cannot be written.
    """
    status = file_status(data_file, store)
    if status.path is None:
        return _fetch(data_file, store)
    if status.problem is not None:
        raise DataError(
            f"{status.path}: {status.problem}; delete {status.path} and run again to fetch it. "
            + _ways_out(data_file, store)
        )
    return status.path


def _fault(path: Path, data_file: DataFile) -> str | None:
    """What is wrong with a copy; the size comes first because it is free and says more."""
    if not path.is_file():
        return "not a regular file (a folder, or a link to nothing)"
    if data_file.sha256 is None:
        return None
    if (size_bytes := path.stat().st_size) != data_file.size_bytes:
        return f"truncated or altered: {data_file.size_bytes} bytes expected, got {size_bytes}"
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if sha256 != data_file.sha256:
        return f"altered: sha256 {data_file.sha256} expected, got {sha256}"
    return None


def _fetch(data_file: DataFile, store: DataStore) -> Path:
    folder = store.cache_folder
    if not data_file.served:
        raise _missing(data_file, store, reason="nobody serves it as one file")
    try:
        return _download(data_file, folder)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise cache_not_writable(folder, error) from None
    except ValueError as error:
        # pooch's first sentence holds both hashes; the file is already deleted.
        what = str(error).partition(". ")[0]
        raise DataError(
            f"{data_file.url}: the download is not the expected file, nothing was kept: {what}. "
            + _ways_out(data_file, store)
        ) from None
    except OSError as error:
        raise _missing(data_file, store, reason=_root_cause(error)) from None


def _download(data_file: DataFile, folder: Path) -> Path:
    """Fetch under a temporary name; pooch renames only a complete file whose hash is right."""
    import pooch

    target = folder / data_file.name
    new = [each for each in (target.parent, *target.parent.parents) if not each.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    progress_bar = sys.stderr.isatty()
    try:
        fetched = pooch.retrieve(
            data_file.url,
            known_hash=None if data_file.sha256 is None else f"sha256:{data_file.sha256}",
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(progressbar=progress_bar, timeout=TIMEOUT_S),
        )
    except BaseException:
        # Empty folders would be all that is left of a mistyped data.root.
        for each in new:
            with suppress(OSError):
                each.rmdir()
        raise
    return Path(fetched)


def cache_not_writable(folder: Path, error: OSError) -> DataError:
    """The error for a cache folder that cannot be created or written."""
    return DataError(
        f"{folder}: the cache folder cannot be written ({error.strerror or error}); "
        "set data.root=FOLDER to a writable one"
    )


def _missing(data_file: DataFile, store: DataStore, *, reason: str) -> MissingFileError:
    also = f", not in the mirror {store.mirror} either" if store.mirror is not None else ""
    return MissingFileError(
        f"{store.cache_folder / data_file.name}: missing{also}, and the download failed "
        f"({reason}). " + _ways_out(data_file, store),
        reason=reason,
    )


def _ways_out(data_file: DataFile, store: DataStore) -> str:
    """The two ways to a good copy, and the way around it, for the end of an error message."""
    exact = f", {data_file.size_bytes} bytes, sha256 {data_file.sha256}"
    ways = (
        f"An intact copy ({data_file.url}{exact if data_file.sha256 else ''}) can be put at "
        f"{store.cache_folder / data_file.name}, or as {data_file.name} into any folder named by "
        f"data.mirror=FOLDER or the environment variable {MIRROR_VARIABLE}"
    )
    return f"{ways}; {data_file.way_around}" if data_file.way_around else ways


def _root_cause(error: BaseException) -> str:
    """The innermost error's text: the outer ones of a failed request repeat it with noise.

    requests hands the inner error over as an argument and urllib3 as ``__cause__``. Following
    ``__context__`` instead could end at an error of our caller's.
    """
    wrapped = (argument for argument in error.args if isinstance(argument, BaseException))
    inner = error.__cause__ or next(wrapped, None)
    return _root_cause(inner) if inner is not None else str(error)
