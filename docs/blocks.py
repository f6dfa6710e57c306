"""The code blocks of the site's pages, and how each is tried.

    python docs/blocks.py prepare FOLDER          puts there what the pages speak of
    python docs/blocks.py script PAGE             prints the shell blocks that run, as a script
    python docs/blocks.py whole PAGE              the same, with the commands as they are written
    python docs/blocks.py left PAGE ..            lists the blocks that do not run, with the reason
    python docs/blocks.py run "KEY=VALUE .." ..   runs Python with the words that follow; a command
                                                  of dmu_search gets those settings that it takes

Every block of ``bash`` or ``python`` runs, page by page, unless a comment just above it says more:

    <!-- with: KEY=VALUE .. -->   its commands run with these settings, so that they take seconds
    <!-- not run: REASON -->      its commands are parsed only

A page that says ``<!-- blocks: run by TEST -->`` has a test of its own.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>with|not run): (?P<said>.*?) -->\n)?"
    r"```(?P<language>bash|python)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_OWN_TEST = re.compile(r"<!-- blocks: run by (\S+) -->")
_ENDS = frozenset("|&;()<>")


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Attributes:
        page: the page, relative to the repository.
        line: of its fence, from 1.
        language: ``bash`` or ``python``.
        code: its lines.
        settings: those that its commands run with.
        reason: why it does not run; None where it does.
    """

    page: str
    line: int
    language: str
    code: str
    settings: tuple[str, ...] = ()
    reason: str | None = None


def pages() -> list[Path]:
    """The pages that people wrote: all but those in docs/results, which ``report`` makes."""
    outside = [REPOSITORY / name for name in ("README.md", "ARCHITECTURE.md", "mlflow/README.md")]
    benchmarks = sorted((REPOSITORY / "benchmarks").rglob("README.md"))
    docs = [
        path
        for path in sorted((REPOSITORY / "docs").rglob("*.md"))
        if "results" not in path.relative_to(REPOSITORY).parts
    ]
    return [*outside, *benchmarks, *docs]


def own_test(page: Path) -> Path | None:
    """The test that runs the page's blocks in a way of its own."""
    found = _OWN_TEST.search(page.read_text(encoding="utf-8"))
    return None if found is None else REPOSITORY / found[1]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page.relative_to(REPOSITORY).as_posix(),
            line=text.count("\n", 0, match.start("language")) + 1,
            language=match["language"],
            code=match["code"],
            settings=tuple(shlex.split(match["said"])) if match["mark"] == "with" else (),
            reason=match["said"] if match["mark"] == "not run" else None,
        )
        for match in _BLOCK.finditer(text)
    ]


def commands(code: str) -> Iterator[list[str]]:
    """The words after ``python -m dmu_search`` of each such command in a shell script."""
    for line in code.replace("\\\n", " ").splitlines():
        if "python -m dmu_search " in line:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
            start = words.index("dmu_search") + 1
            yield list(takewhile(lambda word: not set(word) <= _ENDS, words[start:]))


def with_settings(words: Sequence[str], settings: Sequence[str]) -> list[str]:
    """A command of dmu_search with settings in the place of its own, as far as it takes them."""
    from dmu_search.config.keys import keys_of

    if any(re.match("resume=(?!auto)", word) for word in words):
        return list(words)  # A study is resumed as it was started.
    taken = keys_of(words[0])
    new = {
        each.partition("=")[0]: each
        for each in settings
        if each.startswith("--") or each.partition("=")[0] in taken
    }
    kept = [word for word in words if word.partition("=")[0] not in new]
    return [*kept, *new.values()]


def script(page: Path, *, whole: bool = False) -> str:
    """The shell blocks of a page that run, as a script for bash that shows each before it runs.

    Args:
        page: its path.
        whole: whether commands run as they are written, without the settings of the comments.
    """
    parts = ["set -euo pipefail"]
    for block in blocks(page):
        if block.language == "bash" and block.reason is None:
            settings = "" if whole else shlex.join(block.settings)
            runner = shlex.join([sys.executable, __file__, "run", settings])
            shown = f"\n== {block.page}:{block.line} {settings and 'with '}{settings}\n{block.code}"
            parts += [f'python() {{ {runner} "$@"; }}', f"echo {shlex.quote(shown)}", block.code]
    return "\n".join(parts)


def prepare(folder: Path) -> None:
    """Files of a reader's own, of which the pages speak: tunes, sentence pairs, sentences."""
    from dmu_search.data.demo import ensure_demo
    from dmu_search.data.files import DataStore

    tunes = sorted(ensure_demo(DataStore()).rglob("*.mid"))[:24]
    (folder / "tunes").mkdir()
    for number, tune in enumerate(tunes):
        shutil.copy(tune, folder / f"tunes/{number}.mid")
    shutil.copy(tunes[0], folder / "tune.mid")
    pairs = "".join(f"I see {number} dogs.\tVeo {number} perros.\n" for number in range(40))
    (folder / "pairs.txt").write_text(pairs, encoding="utf-8")
    (folder / "sentences.txt").write_text("I see 3 dogs.\nI see 7 dogs.\n", encoding="utf-8")


def main() -> None:
    """One of the uses above."""
    use, first, *words = sys.argv[1:]
    if use == "prepare":
        prepare(Path(first))
    elif use == "left":
        for block in (block for page in (first, *words) for block in blocks(Path(page).resolve())):
            if block.reason:
                print(f"{block.page}:{block.line}: {block.reason}")
    elif use in ("script", "whole"):
        print(script(Path(first).resolve(), whole=use == "whole"))
    else:
        if words[:2] == ["-m", "dmu_search"]:
            words[2:] = with_settings(words[2:], shlex.split(first))
        os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    main()
