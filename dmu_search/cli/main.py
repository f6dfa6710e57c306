"""Reading a command line and turning what comes of it into an exit code."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dmu_search
from dmu_search.config.keys import did_you_mean
from dmu_search.errors import ConfigError, DmuSearchError, TrialError

DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_FLAGS = ("--help", "--dry-run", "--version")


# Each command is imported when it is called: help needs neither torch nor Ray.
def _tune(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.tune import tune

    return tune(words, dry_run=dry_run)


def _train(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.train import train

    return train(words, dry_run=dry_run)


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


def _doctor(words: Sequence[str], dry_run: bool) -> int:
    from dmu_search.cli.doctor import doctor

    return doctor(words, dry_run=dry_run)


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
        "search for the best setting of each (task, model, depth); tune resume=latest goes on",
        _tune,
    ),
    "train": Command(
        "train config=FILE [KEY=VALUE ..]",
        "train one exported or hand-written configuration over several seeds",
        _train,
    ),
    "reproduce": Command(
        "reproduce [table=3] [figure=2,3,4] [source=paper,released,best] [KEY=VALUE ..]",
        "train what the paper's tables and figures need and is not yet recorded",
        _reproduce,
    ),
    "report": Command(
        "report [table=1,2,..] [figure=2,..] [KEY=VALUE ..]",
        "the paper's tables and figures from the recorded runs, beside the paper's values",
        _report,
    ),
    "data": Command(
        "data [task=polymusic,natlang] [KEY=VALUE ..]",
        "fetch and verify the data sets, and show where they are",
        _data,
    ),
    "sync": Command(
        "sync DIR [KEY=VALUE ..]",
        "bring runs that were recorded without a tracking server into MLflow",
        _sync,
    ),
    "doctor": Command(
        "doctor [KEY=VALUE ..]",
        "show devices, data, versions and tracking; say what is wrong and how to mend it",
        _doctor,
    ),
}


def main(argv: Sequence[str]) -> int:
    """Run one command line; returns its exit code and prints errors without a traceback."""
    try:
        return _dispatch(argv)
    except TrialError as error:
        _print_error(error)
        return SOME_FAILED
    except DmuSearchError as error:
        _print_error(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        again = "; the same command goes on" if argv[:1] == ["train"] else ""
        print(f"interrupted{again}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) is gone; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def entry_point() -> None:
    """The installed program ``dmu-search``."""
    sys.exit(main(sys.argv[1:]))


def _dispatch(argv: Sequence[str]) -> int:
    flags = {"--help" if word == "-h" else word for word in argv if word.startswith("-")}
    words = [word for word in argv if not word.startswith("-")]
    if unknown := sorted(flags - set(_FLAGS)):
        raise ConfigError(
            *(
                f"{flag}: there is no such option{did_you_mean(flag, _FLAGS)}; "
                f"options are {', '.join(_FLAGS)}, settings are written KEY=VALUE"
                for flag in unknown
            )
        )
    if "--version" in flags:
        print(f"dmu_search {dmu_search.__version__}")
        return DONE
    if words and words[0] not in COMMANDS:
        raise ConfigError(
            f"{words[0]}: there is no such command{did_you_mean(words[0], COMMANDS)}; "
            f"commands are {', '.join(COMMANDS)}"
        )
    if not words or "--help" in flags:
        from dmu_search.cli.help import print_help

        print_help(words[0] if words else None)
        return DONE
    return COMMANDS[words[0]].run(words[1:], "--dry-run" in flags)


def _print_error(error: DmuSearchError) -> None:
    faults = error.faults if isinstance(error, ConfigError) else (str(error),)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
