"""A picture of the live table: runs a search in a terminal of its own and draws its screen.

    python docs/live_table.py docs/images/live-table.svg task=polymusic data.corpus=demo ..

The words after the picture are those of `tune`. Of the screens that show a running trial it is the
last with most trials.
"""

import io
import os
import pty
import re
import sys
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import pyte
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

COLUMNS, LINES = 118, 40
# Rich's own, without the fonts that it would fetch.
_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
<rect fill="#0c0c0c" width="{width}" height="{height}" rx="8"/>
<g transform="translate({terminal_x}, 12)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def last_screen(words: list[str]) -> list[Text]:
    """The lines of the last screen of a search with most trials in its table."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(COLUMNS=str(COLUMNS), LINES=str(LINES), TERM="xterm-256color")
        os.execv(sys.executable, [sys.executable, "-m", "dmu_search", "tune", *words])
    screen, kept, most = pyte.Screen(COLUMNS, LINES), [], 1
    stream = pyte.ByteStream(screen)
    with suppress(OSError):  # what a terminal gives whose program has ended
        while content := os.read(terminal, 65536):
            stream.feed(content)
            if (count := rows("\n".join(screen.display))) >= most:
                kept, most = lines_of(screen), count
    os.waitpid(child, 0)
    return kept


def rows(text: str) -> int:
    """Trials in the table of a screen; none where no trial is running."""
    running = re.search(r"trials done, [1-9]\d* running", text)
    return len(re.findall(r"^ *\d+  \w", text, re.MULTILINE)) if running else 0


def lines_of(screen: pyte.Screen) -> list[Text]:
    """The lines of a terminal with their colours, without empty ones at the end."""
    lines = []
    for row in range(screen.lines):
        cells = [screen.buffer[row][column] for column in range(screen.columns)]
        line = Text.assemble(
            *(("".join(cell.data for cell in same), own) for own, same in groupby(cells, style))
        )
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines


def style(cell: pyte.screens.Char) -> Style:
    """Of one character, in rich's words."""
    name = cell.fg.replace("brown", "yellow").replace("bright", "bright_")
    return Style(color=None if name == "default" else Color.parse(name), bold=cell.bold)


def main() -> None:
    """Draw it."""
    picture, *words = sys.argv[1:]
    lines = last_screen(words)
    console = Console(record=True, file=io.StringIO(), width=COLUMNS, force_terminal=True)
    for line in lines:
        console.print(line, no_wrap=True, crop=False, highlight=False)
    svg = console.export_svg(title="", code_format=_FORMAT)
    Path(picture).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
