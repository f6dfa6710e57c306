"""The corpora of the PolyMusic task, by name."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dmu_search.data.demo import ensure_demo, read_demo
from dmu_search.data.files import DATA_FILES, DataStore, MissingFileError, locate
from dmu_search.data.piano_rolls import read_piano_rolls
from dmu_search.engine.tasks.polymusic import SPLITS, PianoRolls
from dmu_search.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Corpus:
    """Piano rolls and where they come from.

    Args:
        rolls: the three splits, after any limit.
        name: ``nottingham`` or ``demo``, never ``auto``.
        sha256: of the notes and the split, see ``content_sha256``.
        source: file or folder that they were read from.
        warning: one sentence that the user must see, or None.
    """

    rolls: PianoRolls
    name: str
    sha256: str
    source: Path
    warning: str | None = None

    @property
    def task_data(self) -> PianoRolls:
        """What the task is made over."""
        return self.rolls

    @property
    def sequences(self) -> dict[str, int]:
        """Number of tunes per split."""
        return {split: len(getattr(self.rolls, split)) for split in SPLITS}

    @property
    def steps(self) -> dict[str, int]:
        """Number of time steps per split, all tunes together."""
        return {split: sum(map(len, getattr(self.rolls, split))) for split in SPLITS}

    def steps_per_epoch(self, batch_size: int) -> int:
        """Time steps that an epoch trains on: those of the training split, in any batches."""
        return self.steps["train"]

    @property
    def mean_notes_per_step(self) -> float:
        """Sounding notes per time step, over all splits."""
        notes = sum(int(roll.sum()) for split in SPLITS for roll in getattr(self.rolls, split))
        return notes / sum(self.steps.values())

    def describe(self) -> str:
        """One line: name, sizes of train / valid / test, density and source."""
        sequences = " / ".join(f"{count:,}" for count in self.sequences.values())
        steps = " / ".join(f"{count:,}" for count in self.steps.values())
        return (
            f"{self.name}: {sequences} sequences, {steps} steps, "
            f"{self.mean_notes_per_step:.2f} notes per step, from {self.source}"
        )


def load_piano_rolls(corpus: str, store: DataStore, limit: int | None = None) -> Corpus:
    """Load a corpus of piano rolls.

    Args:
        corpus: ``nottingham``; ``demo``, which needs no file; or ``auto``, which is Nottingham and,
            where that file is missing and cannot be fetched, the demo with a warning. An altered
            file is an error even then.
        store: folders to look in.
        limit: keep the first so many sequences of every split; None keeps all.

    Raises:
        ConfigError: unknown corpus, or a limit below 1; both together.
        DataError: the file is missing, truncated, altered or unreadable, or the cache folder cannot
            be written.
    """
    faults = []
    if corpus not in CORPORA:
        faults.append(f"data.corpus: must be one of {', '.join(CORPORA)}, got {corpus!r}")
    if limit is not None and limit < 1:
        faults.append(f"data.limit: must be >= 1, got {limit}; use null for all sequences")
    if faults:
        raise ConfigError(*faults)
    return CORPORA[corpus](store, limit)


def content_sha256(rolls: PianoRolls) -> str:
    """Hash of what a model is trained on: every note, the order of tunes, and the split.

    It depends neither on the file format nor on the folder, so equal digests mean equal data.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        tunes = getattr(rolls, split)
        digest.update(f"{split} {len(tunes)}\n".encode())
        for roll in tunes:
            # The length separates tunes whose concatenation would be the same.
            digest.update(f"{len(roll)}\n".encode() + roll.tobytes())
    return digest.hexdigest()


def _load_nottingham(store: DataStore, limit: int | None) -> Corpus:
    path = locate(DATA_FILES["nottingham"], store)
    return _build("nottingham", read_piano_rolls(path), source=path, limit=limit)


def _load_demo(store: DataStore, limit: int | None, warning: str | None = None) -> Corpus:
    folder = ensure_demo(store)
    return _build("demo", read_demo(folder), source=folder, limit=limit, warning=warning)


def _load_auto(store: DataStore, limit: int | None) -> Corpus:
    try:
        return _load_nottingham(store, limit)
    except MissingFileError as error:
        reason = error.reason
    name = DATA_FILES["nottingham"].name
    return _load_demo(
        store,
        limit,
        f"data.corpus=auto: {name} is missing and could not be fetched ({reason}), so the demo "
        "corpus is used and results are not comparable with the paper",
    )


def _build(
    name: str, rolls: PianoRolls, *, source: Path, limit: int | None, warning: str | None = None
) -> Corpus:
    kept = PianoRolls(**{split: getattr(rolls, split)[:limit] for split in SPLITS})
    return Corpus(kept, name, content_sha256(kept), source, warning)


CORPORA: dict[str, Callable[[DataStore, int | None], Corpus]] = {
    "nottingham": _load_nottingham,
    "demo": _load_demo,
    "auto": _load_auto,
}
