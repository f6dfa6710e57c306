"""The commands, by name."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass


# Each command is imported when it is called: help needs neither torch nor Ray.
def _tune(words: Sequence[str], dry_run: bool) -> int:
    if sys.stdout.isatty() and "screen=quiet" not in words:
        # What the next line imports takes seconds.
        print("loading PyTorch and Ray ..", flush=True)
    from dmu_search.cli.tune import tune

    return tune(words, dry_run=dry_run)


def _space(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.space import space

    return space(words, dry_run=dry_run)


def _train(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.train import train

    return train(words, dry_run=dry_run)


def _generate(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.generate import generate

    return generate(words, dry_run=dry_run)


def _reproduce(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.reproduce import reproduce

    return reproduce(words, dry_run=dry_run)


def _report(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.report import report

    return report(words, dry_run=dry_run)


def _data(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.data import data

    return data(words, dry_run=dry_run)


def _sync(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.sync import sync

    return sync(words, dry_run=dry_run)


def _studies(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.studies import studies

    return studies(words, dry_run=dry_run)


def _doctor(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.doctor import doctor

    return doctor(words, dry_run=dry_run)


def _completion(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.completion import completion

    return completion(words)


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        usage: how it is called, without the program's name.
        summary: what it does, in a line.
        run: gets the words after its name and whether it is a dry run; returns the exit code.
    """

    usage: str
    summary: str
    run: Callable[[Sequence[str], bool], int]


COMMANDS = {
    "tune": Command(
        "tune task=polymusic [KEY=VALUE ..]",
        "search for the best setting of each (task, model, depth); tune resume=latest resumes it",
        _tune,
    ),
    "space": Command(
        "space task=polymusic [KEY=VALUE ..] > my_space.yaml",
        "print what a study would search, as a file to change and to tune with config=FILE",
        _space,
    ),
    "train": Command(
        "train config=FILE [KEY=VALUE ..]",
        "train one exported or hand-written configuration over several seeds",
        _train,
    ),
    "generate": Command(
        "generate config=FILE [KEY=VALUE ..]",
        "let a trained network write: go on with a tune or a text, or translate sentences",
        _generate,
    ),
    "reproduce": Command(
        "reproduce [table=3] [figure=2,3] [source=paper,best] [cell=figure-2/gru] [KEY=VALUE ..]",
        "train what the paper's tables and figures need and is not yet recorded",
        _reproduce,
    ),
    "report": Command(
        "report [table=1,2,..] [figure=2,..] [cell=figure-2/gru] [KEY=VALUE ..]",
        "the paper's tables and figures from the recorded runs, beside the paper's values",
        _report,
    ),
    "data": Command(
        "data [task=polymusic,natlang] [KEY=VALUE ..]",
        "fetch and verify the data sets, and show where they are",
        _data,
    ),
    "studies": Command(
        "studies [show NAME | compare NAME NAME .. | delete NAME] [KEY=VALUE ..]",
        "list the studies, show one, compare several by what they found, or delete one",
        _studies,
    ),
    "sync": Command(
        "sync DIR [KEY=VALUE ..]",
        "bring runs that were recorded without a tracking server into MLflow",
        _sync,
    ),
    "doctor": Command(
        "doctor [study=NAME] [KEY=VALUE ..]",
        "show devices, data, versions and tracking, and what to do; or check and mend a study",
        _doctor,
    ),
    "completion": Command(
        "completion bash|zsh|fish",
        "print a script by which the shell completes commands, keys and their values",
        _completion,
    ),
}
