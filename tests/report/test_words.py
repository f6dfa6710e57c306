"""Names of others on the screen: they show, and neither colour, link, move the cursor nor fail."""

import pytest
from rich.markup import escape
from rich.table import Table

from dmu_search.cli.main import main
from dmu_search.cli.screen import open_console, print_rows
from dmu_search.report.words import visible

HOSTILE = "a[link=http://evil]b[/link][/] \x1b]0;title\x07\x1b[2J\x9b31m :smile: [bright_red]c"
SHOWN = "a[link=http://evil]b[/link][/] ␛]0;title␇␛[2J\ufffd31m :smile: [bright_red]c"


def test_control_characters_become_symbols():
    assert visible("a\x1b[31mb\x07\x7f\x9bc\r") == "a␛[31mb␇␡\ufffdc␍"
    assert visible("two\nlines\tand ünïcode") == "two\nlines\tand ünïcode"


@pytest.mark.parametrize("printed", [HOSTILE, escape(HOSTILE)])
def test_the_console_shows_a_hostile_name_as_it_is(capsys, printed):
    console = open_console()
    table = Table()
    table.add_column(printed)
    table.add_row(printed)
    console.print(printed, highlight=False, soft_wrap=True)
    console.rule(printed)
    console.print(table)
    print_rows(console, {"folder": HOSTILE})
    shown = capsys.readouterr().out
    assert shown.count(SHOWN) == 5
    assert "\x1b" not in shown


def test_the_consoles_own_styles_stay(capsys):
    open_console().print("[bold yellow]warning:[/] plain [red]red[/]")
    assert capsys.readouterr().out == "warning: plain red\n"


def test_an_error_shows_what_was_typed_as_it_is(capsys):
    assert main(["tune", "task=adding", "nonsense\x1b[31m=1"]) == 2
    message = capsys.readouterr().err
    assert "\x1b" not in message
    assert "nonsense" in message
