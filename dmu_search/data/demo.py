"""The demo corpus: MIDI files that the package composes itself, read like anyone's MIDI files."""

import shutil
from pathlib import Path
from random import Random
from uuid import uuid4

from dmu_search.data.files import DataStore, cache_not_writable
from dmu_search.data.midi import read_midi, write_midi
from dmu_search.data.tunes import compose_tune
from dmu_search.engine.tasks.polymusic import PianoRolls
from dmu_search.errors import DataError

DEMO_FOLDER = "demo-midi-v1"
DEMO_SEED = 1
DEMO_TUNES = {"train": 64, "valid": 16, "test": 16}


def write_demo(folder: Path, *, seed: int = DEMO_SEED) -> None:
    """Compose the corpus into ``folder/<split>/<number>.mid``.

    Args:
        folder: an existing folder.
        seed: the same seed writes the same bytes.
    """
    for split, tunes in DEMO_TUNES.items():
        (folder / split).mkdir()
        for number in range(tunes):
            tune = compose_tune(Random(f"{seed}/{split}/{number}"))
            write_midi(folder / split / f"{number:02}.mid", [tune.melody, tune.accompaniment])


def ensure_demo(store: DataStore) -> Path:
    """Folder of the demo corpus under the cache folder, written there if it is not.

    Raises:
        DataError: the cache folder cannot be written.
    """
    folder = store.cache_folder / DEMO_FOLDER
    if folder.exists():
        return folder
    # A complete folder appears under its name at once, so a killed process leaves no half corpus.
    draft = store.cache_folder / f".{DEMO_FOLDER}-{uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        write_demo(draft)
        draft.rename(folder)
    except OSError as error:
        # A rename onto a folder with files fails: then another process has written it meanwhile.
        if not folder.is_dir():
            raise cache_not_writable(store.cache_folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def read_demo(folder: Path, limit: int | None = None) -> PianoRolls:
    """Read the corpus that ``write_demo`` wrote.

    Args:
        folder: of the corpus.
        limit: read the first so many tunes of every split; None reads all.

    Raises:
        DataError: a tune is missing or unreadable.
    """
    rolls = {}
    for split, expected in DEMO_TUNES.items():
        files = sorted((folder / split).glob("*.mid"))
        if len(files) != expected:
            raise DataError(
                f"{folder / split}: {expected} demo tunes expected, got {len(files)}; "
                f"delete {folder} and run again to compose them anew"
            )
        rolls[split] = tuple(read_midi(file) for file in files[:limit])
    return PianoRolls(**rolls)
