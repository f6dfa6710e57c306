"""Pairs of sentences as numbers, as the translation tasks take them."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dmu_search.engine.networks.translator import Vocabulary
from dmu_search.errors import DataError

# The first numbers of every vocabulary; its words follow. Padding needs none: rows are packed.
START, END = 0, 1
MARKERS = ("<start>", "<end>")
SPLITS = ("train", "valid", "test")
LANGUAGES = ("source", "target")


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences of one language, each from ``START`` to ``END``.

    Attributes:
        words: of all sentences, one after the other, ``(word,)``.
        lengths: words of each, both markers included, ``(sentence,)``.
    """

    words: NDArray[np.int32]
    lengths: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        """First word of each sentence, ``(sentence,)``."""
        starts: NDArray[np.int64] = self.lengths.cumsum() - self.lengths
        return starts

    def take(self, index: NDArray[np.int64]) -> "Sentences":
        """Some of the sentences, in the order of ``index``."""
        lengths = self.lengths[index]
        own_starts = lengths.cumsum() - lengths
        shift = np.repeat(self.starts[index] - own_starts, lengths)
        return Sentences(self.words[np.arange(lengths.sum()) + shift], lengths)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Sentences and their translations, in the same order.

    Attributes:
        source: to translate from.
        target: to translate to.
    """

    source: Sentences
    target: Sentences

    def __len__(self) -> int:
        return len(self.source.lengths)

    def take(self, index: NDArray[np.int64]) -> "Pairs":
        """Some of the pairs, in the order of ``index``."""
        return Pairs(self.source.take(index), self.target.take(index))


@dataclass(frozen=True, eq=False)
class SplitPairs:
    """The three splits, in numbers below those of the vocabulary.

    Attributes:
        vocabulary: of all pairs there are.
        train: pairs to train on.
        valid: pairs that choose the epoch.
        test: pairs that nothing is chosen by.
    """

    vocabulary: Vocabulary
    train: Pairs
    valid: Pairs
    test: Pairs

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Words and lengths of either language of each split, and the vocabulary's two sizes."""
        arrays: dict[str, NDArray[Any]] = {
            "vocabulary": np.array([self.vocabulary.source, self.vocabulary.target])
        }
        for split, language in itertools.product(SPLITS, LANGUAGES):
            sentences = getattr(getattr(self, split), language)
            arrays[f"{split}_{language}_words"] = sentences.words
            arrays[f"{split}_{language}_lengths"] = sentences.lengths
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of ``to_arrays``."""

        def sentences(name: str) -> Sentences:
            return Sentences(arrays[f"{name}_words"], arrays[f"{name}_lengths"])

        splits = {
            split: Pairs(*(sentences(f"{split}_{language}") for language in LANGUAGES))
            for split in SPLITS
        }
        return cls(Vocabulary(*map(int, arrays["vocabulary"])), **splits)

    def __post_init__(self) -> None:
        empty = [split for split in SPLITS if not len(getattr(self, split))]
        if empty:
            raise DataError(
                f"translation: no pairs are left for {', '.join(empty)}; every split needs one"
            )
