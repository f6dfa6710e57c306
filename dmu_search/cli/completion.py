"""The command ``completion``: a script by which a shell completes commands, keys and values.

The script holds all words, so that a shell need not start Python for each.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

from dmu_search.cli.commands import COMMANDS
from dmu_search.config.keys import CORPORA, Key, did_you_mean, keys_of
from dmu_search.errors import ConfigError
from dmu_search.exit_codes import DONE

_FLAGS = ("--help", "--help-all", "--dry-run")
_FILES = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc, below compinit",
    "fish": "~/.config/fish/config.fish",
}
_LINES = {
    "bash": 'eval "$(dmu-search completion bash)"',
    "zsh": 'eval "$(dmu-search completion zsh)"',
    "fish": "dmu-search completion fish | source",
}
_VERBS = {"studies": ("show", "compare", "delete"), "completion": ("bash", "zsh", "fish")}


def completion(words: Sequence[str]) -> int:
    """Print the script of the shell that is named; returns the exit code.

    On a terminal, where nobody runs what is printed, it is the line that installs it.

    Raises:
        ConfigError: no shell, or one that there is no script for.
    """
    shell = words[0] if len(words) == 1 else ""
    if shell not in _SHELLS:
        raise ConfigError(
            f"completion: takes one of {', '.join(_SHELLS)}, got {' '.join(words) or 'nothing'}"
            f"{did_you_mean(shell, _SHELLS)}"
        )
    if sys.stdout.isatty():
        print(f"add to {_FILES[shell]}:\n  {_LINES[shell]}")
    else:
        print(_SHELLS[shell]({name: _words_of(name) for name in COMMANDS}))
    return DONE


def _words_of(command: str) -> list[str]:
    """All that may follow a command: its verbs, its keys, and their values where these are few."""
    words = [*_VERBS.get(command, ()), *_FLAGS]
    for key in keys_of(command).values():
        words += [f"{key.name}=", *(f"{key.name}={value}" for value in _values(key))]
    return words


def _values(key: Key) -> Sequence[str]:
    if key.kind == "corpus":
        return CORPORA
    return ("true", "false") if key.kind == "bool" else key.choices


def _bash(words: Mapping[str, Sequence[str]]) -> str:
    """The word is cut out of the line, because Bash takes ``=`` for the end of one."""
    cases = "\n".join(f"    {name}) all='{' '.join(own)}' ;;" for name, own in words.items())
    return f"""\
_dmu_search() {{
  local line="${{COMP_LINE:0:COMP_POINT}}" all='{" ".join(words)} --version' word
  local current="${{line##* }}"
  if (( COMP_CWORD > 1 )); then case "${{COMP_WORDS[1]}}" in
{cases}
    *) all='' ;;
  esac; fi
  COMPREPLY=()
  for word in $all; do
    [[ "$word" == "$current"* ]] || continue
    if [[ "$current" == *=* && "$word" == *=?* ]]; then
      COMPREPLY+=("${{word#"${{current%%=*}}="}}")
    elif [[ "$current" != *=* && "$word" != *=?* ]]; then
      COMPREPLY+=("$word")
    fi
  done
  [[ "${{COMPREPLY[0]}}" == *= ]] && compopt -o nospace
  return 0
}}
complete -o default -F _dmu_search dmu-search"""


def _zsh(words: Mapping[str, Sequence[str]]) -> str:
    cases = "\n".join(f"    {name}) all=({' '.join(own)}) ;;" for name, own in words.items())
    return f"""\
_dmu_search() {{
  local -a all
  if (( CURRENT == 2 )); then
    compadd -- {" ".join(words)} --version
    return
  fi
  case $words[2] in
{cases}
  esac
  if [[ $PREFIX == *=* ]]; then
    compadd -- ${{(M)all:#*=?*}} || {{ compset -P '*='; _files; }}
  else
    compadd -S '' -- ${{(M)all:#*=}}
    compadd -- ${{all:#*=*}}
  fi
}}
compdef _dmu_search dmu-search"""


def _fish(words: Mapping[str, Sequence[str]]) -> str:
    commands = " ".join(words)
    quoted = {name: COMMANDS[name].summary.replace("'", "\\'") for name in words}
    lines = [
        f"complete -c dmu-search -f -n 'not __fish_seen_subcommand_from {commands}' -a {name} "
        f"-d '{summary}'"
        for name, summary in quoted.items()
    ]
    lines += [
        f"complete -c dmu-search -n '__fish_seen_subcommand_from {name}' -a '{' '.join(own)}'"
        for name, own in words.items()
    ]
    return "\n".join(lines)


_SHELLS: Mapping[str, Callable[[Mapping[str, Sequence[str]]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
