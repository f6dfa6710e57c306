"""A corpus from any MIDI files: which are usable, how they are split, and a cache of the rolls."""

import hashlib
import json
import sys
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from dmu_search.data.files import cache_not_writable
from dmu_search.data.midi import MidiTune, Reading, read_tune
from dmu_search.data.midi_files import MidiFile, midi_files
from dmu_search.engine.tasks.polymusic import NOTES, PianoRolls, Roll
from dmu_search.errors import DataError
from dmu_search.folders import replacing

# Of the rule in `read_tune` and the selection here: a new one leaves older caches unused.
RULE_VERSION = 1
_PARSERS = ("pretty_midi", "mido")
CACHE_FOLDER = "midi-rolls"
# Shares of the splits: tunes in those of Nottingham.mat.
_VALID_SHARE, _TEST_SHARE = 173 / 1037, 170 / 1037
_SHOWN = 3


@dataclass(frozen=True)
class Skipped:
    """A file that gave no tune.

    Args:
        name: path below the folder or inside the archive.
        reason: why not, in words.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class MidiReport:
    """How the files of a corpus were read, and what did not come of it.

    Args:
        reading: the step and whether tunes were transposed.
        files: MIDI files in all.
        skipped: those that gave no tune, by name.
        out_of_range: notes outside 21 to 108 that were left out of the tunes.
    """

    reading: Reading
    files: int
    skipped: tuple[Skipped, ...]
    out_of_range: int

    def describe(self) -> str:
        """In a few words: the step, the keys, and how many files were skipped."""
        keys = "in C major and A minor" if self.reading.transpose else "in their own keys"
        skipped = len(self.skipped)
        return (
            f"steps of {self.reading.note_value}, {keys}, "
            f"{skipped or 'no'} file{'' if skipped == 1 else 's'} skipped"
        )

    def skipped_in_short(self) -> str:
        """How many files were skipped and why, naming the first few."""
        named = [f"{each.name} ({each.reason})" for each in self.skipped[:_SHOWN]]
        more = f" and {len(self.skipped) - _SHOWN} more" if len(self.skipped) > _SHOWN else ""
        return f"{len(self.skipped)} of {self.files} MIDI files skipped: {', '.join(named)}{more}"


MidiTunes = tuple[tuple[Roll, ...], MidiReport]


def load_midi_tunes(source: Path, reading: Reading, *, cache: Path) -> MidiTunes:
    """The tunes of a folder or archive; read once, then taken from the cache.

    The cache is known by the names and contents of all files, the reading, and the versions of the
    rule and of the parsers, so that whatever changes is read anew.

    Args:
        source: an existing folder, or an archive.
        reading: the step and whether to transpose.
        cache: the cache folder.

    Returns:
        Rolls ``(time, 88)`` in the order of the sha256 of their files, and what there is to report.

    Raises:
        DataError: there is no MIDI file, the archive cannot be read, or the cache cannot be
            written.
    """
    digests = [(file.name, _digest(file)) for file in midi_files(source)]
    if not digests:
        raise DataError(f"{source}: holds no .mid or .midi file; name another folder or archive")
    cached = _load(_cache_file(cache, digests, reading=reading), reading)
    if cached is not None:
        return cached
    files = tqdm(
        midi_files(source),
        total=len(digests),
        desc="reading MIDI",
        unit=" files",
        leave=False,
        disable=not sys.stderr.isatty(),
    )
    # What was read decides where it is kept, even if a file has changed since the first look.
    digests, tunes = _read_all(files, reading)
    _save(_cache_file(cache, digests, reading=reading), tunes)
    return tunes


def split_tunes(rolls: Sequence[Roll]) -> PianoRolls:
    """Train, valid and test in the shares of Nottingham: 67, 17 and 16 %, each at least one tune.

    The order is the rolls' own. The sha256 of their files, which `load_midi_tunes` goes by, mixes
    them alike whatever they are called and wherever they lie; a file more or less moves few others.

    Args:
        rolls: at least three tunes.
    """
    valid = max(1, round(len(rolls) * _VALID_SHARE))
    test = max(1, round(len(rolls) * _TEST_SHARE))
    train = len(rolls) - valid - test
    return PianoRolls(
        train=tuple(rolls[:train]),
        valid=tuple(rolls[train : train + valid]),
        test=tuple(rolls[train + valid :]),
    )


def _read_all(
    files: Iterable[MidiFile], reading: Reading
) -> tuple[list[tuple[str, str]], MidiTunes]:
    digests: list[tuple[str, str]] = []
    tunes: dict[str, MidiTune] = {}
    names: dict[str, str] = {}
    skipped = []
    for file in files:
        digest = _digest(file)
        digests.append((file.name, digest))
        try:
            if digest in tunes:
                # A copy in another split would let the tune be learned and then be asked for.
                raise DataError(f"same content as {names[digest]}")
            tunes[digest] = _read(file, reading)
            names[digest] = file.name
        except DataError as error:
            skipped.append(Skipped(file.name, str(error)))
    ordered = [tunes[digest] for digest in sorted(tunes)]
    report = MidiReport(
        reading=reading,
        files=len(digests),
        skipped=tuple(sorted(skipped, key=lambda each: each.name)),
        out_of_range=sum(tune.out_of_range for tune in ordered),
    )
    return digests, (tuple(tune.roll for tune in ordered), report)


def _read(file: MidiFile, reading: Reading) -> MidiTune:
    if file.fault is not None:
        raise DataError(file.fault)
    if not file.content:
        raise DataError("empty")
    return read_tune(file.content, reading)


def _digest(file: MidiFile) -> str:
    content = file.content if file.fault is None else file.fault.encode()
    return hashlib.sha256(content).hexdigest()


def _cache_file(cache: Path, digests: Sequence[tuple[str, str]], *, reading: Reading) -> Path:
    parts = [RULE_VERSION, *map(version, _PARSERS), str(reading), sorted(digests)]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return cache / CACHE_FOLDER / f"{key}.npz"


def _load(path: Path, reading: Reading) -> MidiTunes | None:
    """What `_save` wrote; None where it is missing or damaged, and so has to be made again."""
    try:
        with np.load(path) as arrays:
            notes = np.unpackbits(arrays["notes"], axis=1, count=NOTES)
            ends = arrays["ends"]
            report = json.loads(arrays["report"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    skipped = tuple(Skipped(**each) for each in report.pop("skipped"))
    rolls = np.split(notes, ends)[:-1]
    return tuple(rolls), MidiReport(reading=reading, skipped=skipped, **report)


def _save(path: Path, tunes: MidiTunes) -> None:
    """Write the cache; others may write it at the same time."""
    rolls, report = tunes
    own = {name: value for name, value in asdict(report).items() if name != "reading"}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez_compressed(
                file,
                notes=np.packbits(np.concatenate([_NOTHING, *rolls]), axis=1),
                ends=np.cumsum([len(roll) for roll in rolls], dtype=np.int64),
                report=np.frombuffer(json.dumps(own).encode(), dtype=np.uint8),
            )
    except OSError as error:
        raise cache_not_writable(path.parents[1], error) from error


_NOTHING = np.zeros((0, NOTES), np.uint8)
