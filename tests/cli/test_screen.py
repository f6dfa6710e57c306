import re
from io import StringIO

import pytest
from rich.console import Console

from dmu_search.cli.screen import SearchScreen
from dmu_search.on_ray.progress import TrialView


@pytest.fixture
def stream():
    return StringIO()


def screen_on(stream, *, terminal, trials=4, **options):
    console = Console(file=stream, width=100, force_terminal=terminal, color_system="standard")
    return SearchScreen(
        console,
        trials=trials,
        max_epochs=9,
        scheduler="promotion",
        metric="val_mse",
        direction="minimize",
        published="paper: 0.1",
        **options,
    )


def view(number, status, epoch, objective=None, **values):
    values = {"training.learning_rate": 0.01 * (number + 1), "training.gamma": 1.0, **values}
    return TrialView(number, status, epoch, objective, values, warm_start=None)


def text_of(stream):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


def shown_at_the_end(stream):
    """The table as it stays on the screen: the last of those drawn."""
    return text_of(stream).rpartition("trial  status")[2]


def test_a_line_for_each_trial_with_the_keys_that_differ(stream):
    with screen_on(stream, terminal=True) as screen:
        screen.update(view(0, "finished", 9, 0.2))
        screen.update(view(1, "stopped early", 3, 0.5))
        screen.update(view(2, "running", 1, 0.7, **{"training.long": "x" * 200}))
    lines = shown_at_the_end(stream).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["2", "0", "1"]
    assert all(len(line) <= 100 for line in lines)
    assert "gamma" not in "".join(lines)
    assert "best so far" in lines[2]
    assert "learning_rate=0.01" in lines[2]
    assert "1 finished" not in lines[2]
    assert "2/4 trials done, 1 running; best val_mse 0.2000 (trial 0); paper: 0.1" in lines[4]


def test_outcomes_have_colours(stream):
    with screen_on(stream, terminal=True) as screen:
        screen.update(view(0, "finished", 9, 0.2))
        screen.update(view(1, "failed", 3))
        screen.update(view(2, "stopped early", 3, 0.5))
    drawn = stream.getvalue()
    for colour, words in (("1;32", "best so far"), ("31", "failed"), ("2", "stopped early")):
        assert re.search(rf"\x1b\[{colour}m *{words}", drawn), words


def test_the_time_left_is_unknown_before_the_first_epoch(stream):
    with screen_on(stream, terminal=True) as screen:
        screen.update(view(0, "running", 0))
    assert "time left unknown yet" in shown_at_the_end(stream)
    with screen_on(stream, terminal=True) as screen:
        screen.update(view(0, "running", 0))
        screen.update(view(0, "running", 1, 0.5))
    assert re.search("about .* left", shown_at_the_end(stream))


def test_epochs_of_an_earlier_command_do_not_count_for_the_pace(stream):
    with screen_on(stream, terminal=True) as screen:
        screen.resume([view(0, "finished", 9, 0.2), view(1, "paused", 3, 0.4)])
        screen.update(view(1, "running", 3, 0.4))
    assert "time left unknown yet" in shown_at_the_end(stream)
    assert "1/4 trials done, 1 running" in shown_at_the_end(stream)


def test_without_a_terminal_there_are_plain_lines(stream):
    with screen_on(stream, terminal=False) as screen:
        screen.update(view(0, "running", 0))
        screen.update(view(0, "running", 1, 0.5))
        screen.update(view(0, "finished", 9, 0.2))
    lines = text_of(stream).splitlines()
    assert lines == [
        "[0/4]  trial 0  running  learning_rate=0.01 gamma=1",
        "[0/4]  trial 0  running  epoch 1/9  val_mse 0.5000",
        "[1/4]  trial 0  finished  epoch 9/9  val_mse 0.2000",
    ] or lines == [
        "[0/4]  trial 0  running  learning_rate=0.01 gamma=1",
        "[1/4]  trial 0  finished  epoch 9/9  val_mse 0.2000",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_warnings_only(stream, terminal):
    with screen_on(stream, terminal=terminal, loudness="quiet") as screen:
        screen.update(view(0, "running", 1, 0.5))
        screen.say("MLflow does not answer")
    assert text_of(stream) == "warning: MLflow does not answer\n"


def test_verbose_has_a_line_for_every_epoch(stream):
    with screen_on(stream, terminal=False, loudness="verbose") as screen:
        for epoch in range(1, 4):
            screen.update(view(0, "running", epoch, 0.5))
    assert [line.split()[5] for line in text_of(stream).splitlines()] == ["1/9", "2/9", "3/9"]
