"""The data sets: where their files are, whether they are intact, and what is in them."""

from dmu_search.data.corpus import CORPORA, Corpus, load_piano_rolls
from dmu_search.data.files import (
    DATA_FILES,
    DataFile,
    DataStore,
    FileStatus,
    MissingFileError,
    file_status,
    locate,
)

__all__ = [
    "CORPORA",
    "DATA_FILES",
    "Corpus",
    "DataFile",
    "DataStore",
    "FileStatus",
    "MissingFileError",
    "file_status",
    "load_piano_rolls",
    "locate",
]
