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
from dmu_search.data.generated import GeneratedData
from dmu_search.data.pairs import PairCorpus, load_pairs
from dmu_search.data.treebank import Treebank, load_treebank

__all__ = [
    "CORPORA",
    "DATA_FILES",
    "Corpus",
    "Data",
    "DataFile",
    "DataStore",
    "FileStatus",
    "GeneratedData",
    "MissingFileError",
    "PairCorpus",
    "Treebank",
    "file_status",
    "load_pairs",
    "load_piano_rolls",
    "load_treebank",
    "locate",
]

# What a task is trained on. All have a name, a sha256 of their content, a warning or None,
# sequences per split, steps per epoch, and a line that describes them.
Data = Corpus | GeneratedData | PairCorpus | Treebank
