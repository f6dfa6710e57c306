"""Command lines that nobody would think of: an answer or a sentence, never a traceback.

Everything is a dry run or holds a word that no command takes, so that nothing trains and Ray is
never started; the network is out of reach.
"""

import contextlib
import io
import os
import shutil
import socket
from pathlib import Path

import pooch
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dmu_search.cli.commands import COMMANDS
from dmu_search.cli.main import main
from dmu_search.config.keys import Key, keys_of
from dmu_search.retraining import costs

# Commands that say with 1 that something is missing or damaged.
_MAY_FAIL = ("reproduce", "report", "data", "doctor")
_BAD = "no.such.key=1"


class _NoTrainer:
    """Stands for the probe of ``reproduce``, which trains for half a second."""

    def __init__(self, task, network, *, training):
        self.training = training

    def seconds_per_epoch(self, budget_s):
        return 1.0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all kinds of things that a path may lead to; the network is out of reach."""
    folder = tmp_path_factory.mktemp("fuzz")
    work = folder / "work"
    (work / "folder").mkdir(parents=True)
    (work / "file").write_text("x\n")
    (work / "pipe.yaml").touch()
    (work / "pipe.yaml").unlink()
    os.mkfifo(work / "pipe.yaml")
    (work / "good.yaml").write_text(
        "task: adding\nmodel: gru\ndepth: 1\ntraining: {learning_rate: 0.01}\n"
    )
    (work / "bad.yaml").write_text("depth: ${depth}\n- [\n")

    def refuse(*_arguments, **_options):
        raise OSError("out of reach")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("HOME", str(folder / "home"))
        patch.delenv("DMU_SEARCH_DATA_MIRROR", raising=False)
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "create_connection", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        # It announces what it fetches, on the stream of whichever test came first.
        patch.setattr(pooch.get_logger(), "disabled", True)
        patch.setattr(costs, "Trainer", _NoTrainer)
        patch.setattr(costs, "make_task", lambda task, data: None)
        yield work


_PATHS = ("", "folder", "file", "file/below", "pipe.yaml", "good.yaml", "bad.yaml", "nowhere/at")
_PATHS += ("s3://bucket/x", "file:///x", "~", "~nobody-here/x", "/dev/zero", "/dev/null", ".")
_PATHS += ("a" * 300, "a/" * 2000, "null", "a b", "a=b", "\udcff", "ä/ö", "-x", "*", "$HOME", "..")
_NUMBERS = ("0", "1", "2", "-1", "3.5", "1e-4", "1e400", "-1e400", "nan", "inf", "0x10", "007")
_NUMBERS += ("9" * 20, "9" * 400, "1e308", "5e-324", "true", "null", "4294967296", "1_0", "")
_SWEEPS = ("interval", "range", "choice", "tag", "int", "float", "glob", "shuffle", "sort", "log")


def _sweep(inner):
    arguments = st.lists(inner, max_size=4).map(",".join)
    return st.builds("{}({})".format, st.sampled_from(_SWEEPS), arguments)


_ATOMS = st.sampled_from((*_NUMBERS, "log", "'a", '"b"', "a.b", "${x}", "{a:1}", "auto", "all"))
_GRAMMAR = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        _sweep(inner),
        st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]"),
        st.lists(inner, min_size=2, max_size=3).map(",".join),
        inner.map(lambda text: f"({text}"),
    ),
    max_leaves=6,
)


def _fitting(key: Key) -> st.SearchStrategy[str]:
    """Values that the key may well take."""
    if key.choices:
        return st.sampled_from(key.choices)
    if key.kind in ("int", "amount", "float", "share"):
        return st.integers(1, 7).map(str)
    return st.sampled_from(("demo", "folder", "good.yaml", "none", "[3]", "true", "auto", "latest"))


def _values(key: Key) -> st.SearchStrategy[str]:
    return st.one_of(
        _fitting(key), st.sampled_from(_PATHS), st.sampled_from(_NUMBERS), _GRAMMAR, st.text()
    )


def _settings(command: str) -> st.SearchStrategy[str]:
    keys = list(keys_of(command).values())
    known = st.sampled_from(keys).flatmap(
        lambda key: _values(key).map(lambda value: f"{key.name}={value}")
    )
    fitting = st.sampled_from(keys).flatmap(
        lambda key: _fitting(key).map(lambda value: f"{key.name}={value}")
    )
    odd = st.sampled_from(("x", "=", "=1", "+a=1", "~a", "a", "task", "folder", "-", "--", "-h x"))
    return st.one_of(fitting, fitting, known, odd, st.text(max_size=12))


@st.composite
def command_lines(draw) -> list[str]:
    command = draw(st.sampled_from([name for name in COMMANDS if keys_of(name)]))
    words = draw(st.lists(_settings(command), max_size=4))
    words.append(draw(st.sampled_from(("--dry-run", "--dry-run", "--dry-run", _BAD))))
    if command in ("tune", "data", "doctor") and draw(st.booleans()):
        words.append("data.corpus=demo")
    if command in ("train", "generate") and draw(st.booleans()):
        words.append("config=good.yaml")
    if draw(st.integers(0, 20)) == 0:
        words.append(draw(st.sampled_from(("--help", "--version", "--dry", "-x"))))
    return [command, *draw(st.permutations(words))]


def _contents(folder):
    return {
        path: path.lstat().st_size if path.is_file() else 0 for path in sorted(folder.rglob("*"))
    }


def check(place, words):
    """The promise of every command line."""
    # A word with a dash is an option wherever it stands, so it may be the dry run that is missing.
    assume("--dry-run" in words or _BAD in words)
    before = _contents(place)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    allowed = {0, 2} | ({1} if words[0] in _MAY_FAIL else set())
    assert code in allowed, (code, err.getvalue())
    told = err.getvalue().splitlines()
    assert all(line.startswith("error: ") and 10 < len(line) < 1000 for line in told), told
    assert "Traceback" not in out.getvalue()
    assert bool(told) == (code == 2)
    new = [path for path in _contents(place) if path not in before]
    for path in new:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # A dry run reads its data, so that it may make the cache that it is told of.
    caches = [Path(word.partition("=")[2]) for word in words if word.startswith("data.root=")]
    stray = [
        path
        for path in new
        if code == 2 or not any(path.is_relative_to(place / cache) for cache in caches)
    ]
    assert not stray
    assert _contents(place) == before


_ALWAYS_THE_SAME = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.slow
@settings(_ALWAYS_THE_SAME, max_examples=25)
@given(words=command_lines())
def test_a_few_command_lines(place, words):
    check(place, words)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(_ALWAYS_THE_SAME, max_examples=2000, derandomize=False)
@given(words=command_lines())
def test_two_thousand_command_lines(place, words):
    check(place, words)
