"""Tiny tasks, and rows whose replicas differ."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from dmu_search.engine.kernels.rows import PackedRows
from dmu_search.engine.networks.translator import Vocabulary
from dmu_search.engine.settings import TrainingSettings
from dmu_search.engine.tasks import task_class
from dmu_search.engine.tasks.base import Bucketed, Task
from dmu_search.engine.tasks.generated import Rules
from dmu_search.engine.tasks.natlang import NatLang, Text
from dmu_search.engine.tasks.polymusic import PianoRolls
from dmu_search.engine.tasks.sentences import END, START, Pairs, Sentences, SplitPairs
from dmu_search.names import TASKS

CPU = torch.device("cpu")


def random_rolls(lengths: list[int], seed: int) -> tuple[np.ndarray, ...]:
    """Tunes that hold each of a few chords for three steps, so that there is much to learn."""
    rng = np.random.default_rng(seed)
    chords = (np.random.default_rng(0).random((4, 88)) < 0.05).astype(np.uint8)
    return tuple(chords[rng.integers(4, size=length).repeat(3)[:length]] for length in lengths)


def marks(model: str, task: str) -> list[Any]:
    """Quick are DMU on each task, and GRU on tunes, which differ in length; others slow."""
    return [] if model == "dmu" or (model, task) == ("gru", "polymusic") else [pytest.mark.slow]


def small_rules(**changes: Any) -> Rules:
    """Short sequences, few batches and small fixed sets."""
    small = Rules(
        length=12, batches_per_epoch=2, train_sequences=6, valid_sequences=5, test_sequences=7
    )
    return dataclasses.replace(small, **changes)


def small_rolls() -> PianoRolls:
    """Seven training tunes: two full batches of 3 and one of 1."""
    return PianoRolls(
        train=random_rolls([9, 4, 12, 2, 7, 15, 5], seed=1),
        valid=random_rolls([6, 11, 3], seed=2),
        test=random_rolls([8, 2, 10, 5], seed=3),
    )


class SmallNatLang(NatLang):
    """NatLang with few words, so that their embeddings and logits cost little."""

    vocabulary = 7


def random_words(count: int, seed: int) -> np.ndarray:
    """Words each followed by the next one or, half as often, by the one after that."""
    steps = np.random.default_rng(seed).choice([1, 1, 2], size=count)
    return steps.cumsum() % SmallNatLang.vocabulary


def small_text() -> Text:
    """Three training streams of one whole chunk and a shorter one; test streams of one chunk."""
    return Text(random_words(380, seed=1), random_words(150, seed=2), random_words(90, seed=3))


def random_sentences(words: np.ndarray, lengths: np.ndarray) -> Sentences:
    """Sentences of such words, markers around each."""
    cuts = np.split(words, lengths.cumsum()[:-1])
    numbers = np.concatenate([np.array([START, *each, END]) for each in cuts])
    return Sentences(numbers.astype(np.int32), lengths + 2)


def small_pairs() -> SplitPairs:
    """Sentences of 0 to 5 words; a translation has the words in other numbers, the last one twice.

    Twenty-three training pairs, so that the last batch of 3 is smaller.
    """
    vocabulary = Vocabulary(source=9, target=8)

    def pairs(count: int, seed: int) -> Pairs:
        rng = np.random.default_rng(seed)
        lengths = np.append(rng.integers(1, 6, size=count - 1), 0)
        words = rng.integers(2, 7, size=lengths.sum())
        ends = lengths.cumsum()[lengths > 0] - 1
        doubled = np.insert(words, ends, words[ends])
        return Pairs(
            random_sentences(words, lengths),
            random_sentences(9 - doubled, lengths + (lengths > 0)),
        )

    return SplitPairs(vocabulary, train=pairs(23, 1), valid=pairs(7, 2), test=pairs(8, 3))


def batches_of(size: int, **changes: Any) -> TrainingSettings:
    """Settings with such batches."""
    return TrainingSettings(
        **{"learning_rate": 0.01, "batch_size": size, "max_epochs": 1} | changes
    )


# By the module of a task's data.
SMALL_DATA = {
    "generated": small_rules,
    "corpus": small_rolls,
    "treebank": small_text,
    "pairs": small_pairs,
}
# One of those that differ in their data only.
KINDS_OF_TASK = tuple(
    {task_class(name): name for name, entry in TASKS.items() if entry.data in SMALL_DATA}.values()
)
BUCKETED = tuple(name for name in KINDS_OF_TASK if issubclass(task_class(name), Bucketed))


def small_task(
    name: str, dtype: torch.dtype = torch.float32, device: torch.device | str = CPU
) -> Task[Any, Any]:
    """Any task, with little data."""
    data = TASKS[name].data
    kind = SmallNatLang if data == "treebank" else task_class(name)
    return kind(SMALL_DATA[data](), dtype=dtype, device=device)


@pytest.fixture(scope="session")
def rolls() -> PianoRolls:
    return small_rolls()


@pytest.fixture
def uneven() -> PackedRows:
    """Two replicas of a batch of 3, of 11 and of 8 rows, with ties."""
    return PackedRows(np.array([[2, 5, 4], [3, 3, 2]]), CPU)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Products of this size only lose by threads, more so on a machine with other work to do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
