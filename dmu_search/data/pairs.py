"""Pairs of sentences from files in the format of manythings.org/anki, for the translation tasks."""

import hashlib
import math
import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from dmu_search.data.bleu import corpus_bleu
from dmu_search.data.files import DataFile, DataStore, locate
from dmu_search.data.settings import DataSettings
from dmu_search.engine.networks.translator import Vocabulary
from dmu_search.engine.tasks.sentences import (
    END,
    MARKERS,
    SPLITS,
    START,
    Pairs,
    Sentences,
    SplitPairs,
)
from dmu_search.engine.tasks.translation import Translation
from dmu_search.engine.training.trainer import Trainer
from dmu_search.errors import ConfigError, DataError
from dmu_search.names import TASKS

# Shares of the training and the validation split; the rest is for testing.
SHARES = (0.70, 0.15)
# The same split in every run: whether a setting is good must not depend on the luck of a split.
SPLIT_SEED = 0
# Seven pairs are the fewest of which each split gets one.
FEWEST_PAIRS = 7

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


FILES = {
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
}

_MARK = re.compile(r"([?.!,¿¡])")
_NO_WORD = re.compile(r"[^a-z?.!,¿¡]+")


@dataclass(frozen=True, eq=False)
class PairCorpus:
    """Numbered pairs of sentences and where they come from.

    Args:
        pairs: the three splits, after any limit.
        source_words: the word of each number, of the language to translate from.
        target_words: the same of the language to translate to.
        name: of the file, without its ending.
        sha256: of the words, the sentences and the split, see ``content_sha256``.
        source: file that they were read from.
    """

    pairs: SplitPairs
    source_words: tuple[str, ...]
    target_words: tuple[str, ...]
    name: str
    sha256: str
    source: Path
    warning: None = None

    @property
    def task_data(self) -> SplitPairs:
        """What the task is made over."""
        return self.pairs

    @property
    def sequences(self) -> dict[str, int]:
        """Number of pairs per split."""
        return {split: len(getattr(self.pairs, split)) for split in SPLITS}

    def steps_per_epoch(self, batch_size: int) -> int:
        """Words that an epoch reads and predicts, in any batches."""
        train = self.pairs.train
        return int(train.source.lengths.sum() + train.target.lengths.sum() - len(train))

    def text(self, words: Iterable[int]) -> str:
        """A sentence of the target language from its numbers, less markers."""
        return " ".join(self.target_words[word] for word in words if word >= len(MARKERS))

    def texts(self, sentences: Sentences) -> list[str]:
        """All of some sentences of the target language."""
        return [self.text(own) for own in np.split(sentences.words, sentences.starts[1:])]

    def further_metrics(
        self, trainer: Trainer, metrics: Mapping[str, tuple[float, ...]]
    ) -> dict[str, tuple[float, ...]]:
        """``test_bleu``, which takes the words; nan for a replica without a best epoch."""
        task = trainer.task
        assert isinstance(task, Translation), "pairs are for translating"
        said = task.translate(trainer.network, trainer.best_weights, split="test")
        references = self.texts(self.pairs.test.target)
        return {
            "test_bleu": tuple(
                math.nan if math.isnan(accuracy) else corpus_bleu(map(self.text, own), references)
                for own, accuracy in zip(said, metrics["test_accuracy"], strict=True)
            )
        }

    def describe(self) -> str:
        """One line: name, sizes of train / valid / test, vocabularies and source."""
        sequences = " / ".join(f"{count:,}" for count in self.sequences.values())
        vocabulary = self.pairs.vocabulary
        return (
            f"{self.name}: {sequences} pairs, {vocabulary.source:,} words to "
            f"{vocabulary.target:,}, from {self.source}"
        )


def load(task: str, settings: DataSettings) -> PairCorpus:
    """The pairs of a task, as far as settings ask for them; see ``load_pairs``."""
    return load_pairs(
        task,
        DataStore.from_settings(settings),
        file=settings.pairs_file,
        pairs=settings.needed("pairs"),
        limit=settings.limit,
    )


def load_pairs(
    task: str,
    store: DataStore,
    *,
    file: str | Path | None = None,
    pairs: int | str = "all",
    limit: int | None = None,
) -> PairCorpus:
    """Load the pairs of a translation task.

    Vocabularies are those of the whole file, whatever ``pairs`` and ``limit`` are, as released.

    Args:
        task: a key of ``dmu_search.names.TASKS``.
        store: folders to look in.
        file: the user's own file to take instead, see ``read_pairs``.
        pairs: take the first so many of the file, or ``all``.
        limit: keep the first so many pairs of every split; None keeps all.

    Raises:
        ConfigError: too few pairs are asked for.
        DataError: the file is missing, truncated, altered, unreadable or has too few pairs.
    """
    if pairs != "all" and int(pairs) < FEWEST_PAIRS:
        raise ConfigError(f"data.pairs: must be all or >= {FEWEST_PAIRS}, got {pairs}")
    (name,) = TASKS[task].files
    path = locate(FILES[name], store) if file is None else Path(file).expanduser()
    targets, sources = zip(*read_pairs(path), strict=True)
    source_words, source = number_words(map(tokens_of, sources))
    target_words, target = number_words(map(tokens_of, targets))
    count = len(sources) if pairs == "all" else min(int(pairs), len(sources))
    whole = Pairs(source, target)
    parts = split_index(count)
    split = SplitPairs(
        Vocabulary(len(source_words), len(target_words)),
        **{name: whole.take(part[:limit]) for name, part in zip(SPLITS, parts, strict=True)},
    )
    return PairCorpus(
        pairs=split,
        source_words=source_words,
        target_words=target_words,
        name=path.stem,
        sha256=content_sha256(split, source_words, target_words=target_words),
        source=path,
    )


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read English sentences and their translations, in the order of the file.

    Args:
        path: a text file with a pair per line, ``english <tab> foreign``, further columns being
            left out; or a zip that holds one such ``.txt`` (files that begin with ``_`` do not
            count).

    Raises:
        DataError: there is no such file, or it has another form.
    """
    # Not `splitlines`, which also cuts at characters that may stand inside a sentence.
    lines = _text_of(path).rstrip("\n").split("\n")
    pairs = []
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t")
        if len(columns) < 2:
            raise DataError(
                f"{path}: line {number} must be an English sentence, a tab and its translation, "
                f"got {line[:60]!r}; take a file of manythings.org/anki"
            )
        pairs.append((columns[0], columns[1]))
    if len(pairs) < FEWEST_PAIRS:
        raise DataError(
            f"{path}: {FEWEST_PAIRS} pairs are the fewest that can be split, got {len(pairs)}"
        )
    return pairs


def _text_of(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is no regular file; check data.pairs_file")
    try:
        content = _unzipped(path) if path.suffix == ".zip" else path.read_bytes()
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check data.pairs_file") from None
    except (OSError, BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as sentence pairs ({error}); delete it to fetch it again, or "
            "name another file by data.pairs_file=PATH"
        ) from None


def _unzipped(path: Path) -> bytes:
    with ZipFile(path) as archive:
        texts = [
            name
            for name in archive.namelist()
            if name.endswith(".txt") and not Path(name).name.startswith("_")
        ]
        if len(texts) != 1:
            found = ", ".join(archive.namelist()[:5]) or "nothing"
            raise DataError(f"{path}: must hold one .txt with sentence pairs, got {found}")
        return archive.read(texts[0])


def tokens_of(sentence: str) -> list[str]:
    """Words and marks of a sentence, as the release cuts it.

    Lower-case, without accents (a letter that is not one of a to z even then, such as the German
    sharp s, ends a word like everything else that is neither letter nor mark); each of ``? . ! ,``
    and their inverted forms is a word of its own.
    """
    apart = unicodedata.normalize("NFD", sentence.lower())
    bare = "".join(letter for letter in apart if unicodedata.category(letter) != "Mn")
    return _NO_WORD.sub(" ", _MARK.sub(r" \1 ", bare)).split()


def number_words(sentences: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], Sentences]:
    """Number the words of a language in the order in which they first come.

    Args:
        sentences: tokens of each.

    Returns:
        The word of each number, beginning with the markers for start and end, and all sentences in
        numbers, from ``START`` to ``END``.
    """
    numbers = {MARKERS[START]: START, MARKERS[END]: END}
    words: list[int] = []
    lengths: list[int] = []
    for tokens in sentences:
        words.append(START)
        words.extend([numbers.setdefault(token, len(numbers)) for token in tokens])
        words.append(END)
        lengths.append(len(tokens) + 2)
    return tuple(numbers), Sentences(
        np.array(words, dtype=np.int32), np.array(lengths, dtype=np.int64)
    )


def split_index(count: int) -> list[np.ndarray]:
    """Indices of the pairs of each split: a random 70, 15 and 15 percent, always the same."""
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    train, valid = (round(share * count) for share in SHARES)
    return np.split(order, [train, train + valid])


def content_sha256(
    pairs: SplitPairs, source_words: Sequence[str], *, target_words: Sequence[str]
) -> str:
    """Hash of what a model is trained on: all words, every sentence, and the split.

    It depends neither on the file's form nor on its folder, so equal digests mean equal data.
    """
    digest = hashlib.sha256()
    for words in (source_words, target_words):
        digest.update(f"{len(words)} {' '.join(words)}\n".encode())
    for split in SPLITS:
        part = getattr(pairs, split)
        for sentences in (part.source, part.target):
            digest.update(f"{split} {len(part)}\n".encode())
            digest.update(sentences.lengths.astype("<i8").tobytes())
            digest.update(sentences.words.astype("<i4").tobytes())
    return digest.hexdigest()
