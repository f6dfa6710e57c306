"""Reading a command line and turning what comes of it into an exit code."""

import os
import sys
from collections.abc import Sequence

import dmu_search
from dmu_search.cli.commands import COMMANDS
from dmu_search.cli.help import print_help
from dmu_search.config.keys import did_you_mean
from dmu_search.errors import ClusterError, ConfigError, DmuSearchError, TrialError
from dmu_search.exit_codes import BAD_INPUT, DONE, INTERRUPTED, SOME_FAILED

_FOLDER = "--config-dir"
_FLAGS = ("--help", "--help-all", "--dry-run", "--version")
_SCREENS = {"--quiet": "screen=quiet", "-q": "screen=quiet", "--verbose": "screen=verbose"}


def main(argv: Sequence[str]) -> int:
    """Run one command line; returns its exit code and prints errors without a traceback."""
    try:
        return _dispatch(argv)
    except (TrialError, ClusterError) as error:
        _print_error(error)
        return SOME_FAILED
    except DmuSearchError as error:
        _print_error(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        again = "; the same command resumes it" if argv[:1] == ["train"] else ""
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
    argv = [_SCREENS.get(word, word) for word in _with_folder(argv)]
    flags = {"--help" if word == "-h" else word for word in argv if word.startswith("-")}
    words = [word for word in argv if not word.startswith("-")]
    if strange := [word for word in argv if not _is_text(word)]:
        raise ConfigError(*(f"{word!a}: is no text in UTF-8; retype it" for word in strange))
    if unknown := sorted(flags - set(_FLAGS)):
        raise ConfigError(
            *(
                f"{flag}: there is no such option{did_you_mean(flag, (*_FLAGS, *_SCREENS))}; "
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
    if not words or flags & {"--help", "--help-all"}:
        print_help(words[0] if words else None, whole="--help-all" in flags)
        return DONE
    return COMMANDS[words[0]].run(words[1:], "--dry-run" in flags)


def _with_folder(argv: Sequence[str]) -> Sequence[str]:
    """``--config-dir DIR``, as Hydra's programs have it, as the key that it stands for."""
    if _FOLDER not in argv:
        return [
            f"config_dir={word.partition('=')[2]}" if word.startswith(f"{_FOLDER}=") else word
            for word in argv
        ]
    at = list(argv).index(_FOLDER)
    if at + 1 == len(argv):
        raise ConfigError(f"{_FOLDER}: needs a folder, as in {_FOLDER} my_spaces")
    return [*argv[:at], f"config_dir={argv[at + 1]}", *argv[at + 2 :]]


def _is_text(word: str) -> bool:
    """Whether a word of the shell could be read and can be printed."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _print_error(error: DmuSearchError) -> None:
    for fault in error.faults:
        # A quoted word may hold anything, also what a terminal takes for a command.
        text = "".join(char if char.isprintable() else f"{char!a}"[1:-1] for char in fault)
        print(f"error: {text}", file=sys.stderr)
