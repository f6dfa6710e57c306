"""A hook of `mkdocs`: the table of keys, with each line of search_spaces/ that sets one."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from mkdocs.structure.pages import Page

from dmu_search.cli.commands import COMMANDS
from dmu_search.config.keys import KEYS, Key
from dmu_search.config.roots import default_choice

REPOSITORY = Path(__file__).resolve().parents[1]
# The place of the keys in docs/reference/keys.md.
MARK = "<!-- the keys -->"


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put the keys in their place."""
    return markdown.replace(MARK, keys_text()) if MARK in markdown else markdown


# A line of a YAML in search_spaces/: a group, or a key with its value and a comment.
_LINE = re.compile(r"^(\s*)(\w+):\s*([^\s#][^#]*?)?\s*(?:#\s*(.*))?$")


def origins() -> dict[str, list[tuple[str, str, str]]]:
    """File, value and comment of every line that sets a key in search_spaces/."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    root = REPOSITORY / "search_spaces"
    for path in [root / "config.yaml", *sorted(root.glob("task/*")), *sorted(root.glob("model/*"))]:
        text = path.read_text(encoding="utf-8")
        lines = list(_settings(text))
        values = yaml.safe_load(text) or {}
        count = sum(len(own) if isinstance(own, dict) else 1 for own in values.values())
        assert len(lines) == count - ("defaults" in values), f"{path}: lines are not understood"
        for name, value, comment in lines:
            found.setdefault(name, []).append((path.relative_to(root).as_posix(), value, comment))
    return found


def _settings(text: str) -> Iterator[tuple[str, str, str]]:
    group, said = "", []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            said.append(line.strip().removeprefix("#").strip())
            continue
        match = _LINE.match(line)
        if match and match[3] and not line.lstrip().startswith("- "):
            name = f"{group}.{match[2]}" if match[1] else match[2]
            yield name, match[3].strip('"'), " ".join([*said, match[4] or ""]).strip()
        elif match and not match[1]:
            group = match[2]
        said = []


def keys_text() -> str:
    """Every key with what it is, its values, its default and where that comes from."""
    set_in = origins()
    unknown = set_in.keys() - KEYS.keys()
    assert not unknown, f"search_spaces/ sets what is no key: {unknown}"
    lines, group = [], None
    for key in KEYS.values():
        if key.name.rpartition(".")[0] != group:
            group = key.name.rpartition(".")[0]
            lines.append(f"## {group or 'Without a group'}\n")
        lines += [_entry(key), *_table(set_in.get(key.name, []))]
    return "\n".join(lines)


def _entry(key: Key) -> str:
    facts = [key.rule() if key.kind != "widths" else "", "may be a distribution" * key.searchable]
    facts += ["a comma list makes several studies or selections" * key.listable]
    facts += ["`null` is a value" * key.optional]
    only = [*key.tasks, *key.models]
    facts += [f"exists for {', '.join(only)} only" if only else ""]
    if key.only_if:
        facts += [f"matters only with `{'='.join(key.only_if)}`"]
    if key.name in ("task", "model"):
        facts += [f"`{default_choice(key.name)}` where none is named"]
    commands = ", ".join(name for name in COMMANDS if name in key.commands)
    said = "; ".join(filter(None, facts))
    return (
        f"### `{key.name}` {{ #{key.name} }}\n\n{_upper(_escaped(key.help))}.\n\n"
        f"*Values*: {_escaped(said) or 'see above'}. *Commands*: {commands}.\n"
    )


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    if not rows:
        return []
    lines = ["| default or searched range | set in | why |", "|---|---|---|"]
    for file, value, comment in rows:
        link = f"[{file}](../../search_spaces/{file})"
        lines.append(f"| `{value}` | {link} | {_escaped(comment)} |")
    return [*lines, ""]


def _escaped(text: str) -> str:
    return re.sub(r"([|*_\[\]])", r"\\\1", html.escape(text, quote=False))


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]
