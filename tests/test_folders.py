import ast
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import PicklingError

import pytest
import torch

from dmu_search.engine.plans.runs import save_state
from dmu_search.errors import StorageError
from dmu_search.folders import OutputFolder, write_whole, written_whole

PACKAGE = Path(__file__).resolve().parents[1] / "dmu_search"
PLACES = [name for name, part in vars(OutputFolder).items() if isinstance(part, property)]


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """The disk is full where a file grows beyond so many bytes."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_is_written_whole_with_its_folder(tmp_path):
    path = tmp_path / "made" / "file"
    for content in (b"first", b"second"):
        write_whole(path, content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def test_what_is_written_has_its_name_only_when_it_is_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "file"
    synced = []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(path.exists()))
    with written_whole(path) as file:
        file.write(b"content")
    # The file before it is renamed, its folder after that.
    assert synced == [False, True]


def test_a_block_that_raises_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with suppress(KeyboardInterrupt), written_whole(path) as file:
        file.write(b"half of the new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("state", [{"weights": torch.zeros(10_000)}, {"text": "x" * 10_000}])
def test_a_full_disk_leaves_the_old_weights_and_nothing_beside_them(tmp_path, state):
    path = tmp_path / "weights.pt"
    save_state(path, {"epoch": 1})
    with (
        files_of_at_most(5_000),
        pytest.raises(StorageError, match=r"weights\.pt: cannot be written \(File too large\)"),
    ):
        save_state(path, state)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_saved_is_told_as_it_is(tmp_path):
    with pytest.raises((AttributeError, PicklingError), match="lambda"):
        save_state(tmp_path / "weights.pt", {"function": lambda: None})
    assert not list(tmp_path.iterdir())


def test_each_place_under_the_output_folder_is_spelled_once():
    assert sorted(PLACES) == [
        *("best", "generated", "plans", "records", "repeated"),
        *("report", "retrained", "sent", "studies"),
    ]
    faults = [
        f"{path.relative_to(PACKAGE)}:{line}: name it by OutputFolder"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "folders.py"
        for line in spelled(path.read_text(encoding="utf-8"))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("output_dir / 'records'", [1]),
        ("output_dir / 'best/polymusic'", [1]),
        ("Path('retrained', name)", [1]),
        ("output_dir.joinpath('studies')", [1]),
        ("print('as in runs/best/polymusic')", [1]),
        ("'''Puts it into runs/records.'''", []),
        ("given.get('records')", []),
        ("OutputFolder(root).records", []),
    ],
)
def test_spellings_are_found(source, lines):
    assert spelled(source) == lines


def spelled(source: str) -> list[int]:
    """Lines of code, not of docstrings, that spell a place under the output folder."""
    begins, inside = (
        re.compile(f"{before}(?:{'|'.join(PLACES)})(?:/|$)", re.MULTILINE)
        for before in ("", r"\w/")
    )
    tree = ast.parse(source)
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts = [node.right]
        elif isinstance(node, ast.Call) and re.search("Path$|joinpath$", ast.unparse(node.func)):
            parts = node.args
        else:
            continue
        texts = [part.value for part in parts if isinstance(part, ast.Constant)]
        lines += [node.lineno for text in texts if begins.match(str(text))]
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    lines += [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in prose and inside.search(node.value)
    ]
    return sorted(set(lines))
