"""The data sets: where their files are, whether they are intact, and what is in them."""

from dmu_search.data.base import Data
from dmu_search.data.files import (
    DataFile,
    DataStore,
    FileStatus,
    MissingFileError,
    file_status,
    locate,
)

__all__ = [
    "Data",
    "DataFile",
    "DataStore",
    "FileStatus",
    "MissingFileError",
    "file_status",
    "locate",
]
