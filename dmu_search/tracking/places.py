"""How far each record has come into a tracking store, kept on disk."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from dmu_search.errors import StorageError
from dmu_search.folders import claimed, write_whole

_FILE = "places.jsonl"


@dataclass(frozen=True)
class Place:
    """What the store has of a record.

    Attributes:
        offset: bytes of it.
        checksum: CRC-32 of these, which shows a record that was written anew since.
    """

    offset: int = 0
    checksum: int = 0

    def after(self, lines: bytes) -> "Place":
        """The place behind these lines."""
        return Place(self.offset + len(lines), crc32(lines, self.checksum))

    def is_in(self, content: bytes) -> bool:
        """Whether a record begins with what was sent."""
        sent = content[: self.offset]
        return len(sent) == self.offset and crc32(sent) == self.checksum


class Places:
    """The places of a study's records, its own and those of its trials, in one file that grows.

    One process has them at a time, for two would send the same twice.

    Args:
        folder: of this study and this store.
        store: what tells the store from another one with its address; a new one has nothing yet.

    Raises:
        StorageError: another process has them, or the folder cannot be written.
    """

    def __init__(self, folder: Path, store: str) -> None:
        self._path = folder / _FILE
        self._claim = ExitStack()
        self._claim.enter_context(claimed(folder))
        self._places = _read(self._path, store)
        lines = [{"store": store}, *(_line(name, at) for name, at in self._places.items())]
        write_whole(self._path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def of(self, run_id: str) -> Place:
        """How far a record has come."""
        return self._places.get(run_id, Place())

    def keep(self, moved: Mapping[str, Place]) -> None:
        """Note new places; where this fails, what was sent is looked up in the store again."""
        self._places.update(moved)
        with suppress(OSError), self._path.open("ab") as file:
            file.write("".join(json.dumps(_line(*each)) + "\n" for each in moved.items()).encode())

    def close(self) -> None:
        """Let another process have them."""
        self._claim.close()


def _line(run_id: str, place: Place) -> dict[str, object]:
    return {"run": run_id, "offset": place.offset, "checksum": place.checksum}


def _read(path: Path, store: str) -> dict[str, Place]:
    """The places in a file; none if it is of another store. What is cut off or damaged is lost."""
    lines = list(_lines(path))
    if not lines or lines[0].get("store") != store:
        return {}
    places = {}
    for line in lines[1:]:
        with suppress(KeyError, TypeError, ValueError):
            places[line["run"]] = Place(line["offset"] + 0, line["checksum"] + 0)
    return places


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as fault:
        raise StorageError(f"{path}: cannot be read ({fault.strerror})") from None
    for line in content.splitlines():
        with suppress(ValueError):
            read = json.loads(line)
            if isinstance(read, dict):
                yield read
