"""What a real shell completes with the printed script."""

import subprocess

import pytest

from dmu_search.cli.commands import COMMANDS
from dmu_search.cli.main import main
from dmu_search.config.keys import keys_of

# Bash takes "=" for a word of its own; `compopt` is for completions that it has asked for.
ASK = """
compopt() { :; }
ask() {
  local words=(${1//=/ = })
  COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1))
  [[ $1 == *" " ]] && COMP_CWORD=$((COMP_CWORD + 1))
  _dmu_search
  echo "${COMPREPLY[*]}"
}
"""
LINES = {
    "dmu-search t": "tune train",
    "dmu-search tune ta": "task=",
    "dmu-search tune task=p": "polymusic por2eng",
    "dmu-search tune model=": "dmu rhn lstm gru rnn",
    "dmu-search generate be": "beam=",
    "dmu-search studies ": None,
    "dmu-search nothing x": "",
}


def test_bash_completes_commands_keys_and_values(capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out + ASK + "".join(f'ask "{line}"\n' for line in LINES)
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    for (line, expected), shown in zip(LINES.items(), ran.stdout.split("\n"), strict=False):
        if expected is None:
            assert shown.startswith("show compare delete"), line
        else:
            assert shown == expected, line


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_has_every_command_and_key(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    assert all(f"{name}=" in script for name in keys_of("tune"))


def test_other_shells_are_refused_in_a_sentence(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "takes one of bash, zsh, fish, got tcsh" in capsys.readouterr().err
