"""The help pages, written from the tables of commands and keys."""

import shutil
import textwrap

from dmu_search.cli.commands import COMMANDS
from dmu_search.config.keys import Key, keys_of
from dmu_search.config.roots import default_of
from dmu_search.names import MODELS, TASKS

_PROGRAM = "python -m dmu_search"


def print_help(command: str | None, *, whole: bool = False) -> None:
    """Print the page of ``command``, or the overview.

    Args:
        command: None for the overview.
        whole: whether all keys are listed, also where a few are enough to begin with.
    """
    if command is None:
        print(_overview())
    else:
        print(_first_page(command) if command in _FIRST and not whole else _page(command))


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {each.summary}" for name, each in COMMANDS.items()]
    return "\n".join(
        [
            "Hyperparameter search for recurrent networks: Optuna inside Ray Tune, with MLflow.",
            "",
            f"usage: {_PROGRAM} COMMAND [KEY=VALUE ..] [--dry-run] [--help] [--version]",
            "",
            *lines,
            "",
            "Start with",
            f"  {_PROGRAM} tune task=polymusic search.trials=8 training.max_epochs=6",
            f"and see the keys of a command with {_PROGRAM} COMMAND --help or --help-all.",
        ]
    )


# What a new user needs of a command with many keys, a line each.
_FIRST: dict[str, dict[str, dict[str, str]]] = {
    "tune": {
        "What is searched; comma lists make several studies, as in model=dmu,rhn depth=1,2": {
            "task": " ".join(TASKS),
            "model": " ".join(MODELS),
            "depth": "layers of the network",
            "data.corpus": "of polymusic: nottingham, demo or your folder of MIDI files",
            "data.limit": "first so many sequences only, for a quick look",
        },
        "How long": {
            "search.trials": "settings that are tried",
            "training.max_epochs": "epochs of those that go on to the end",
            "search.time_budget_s": "seconds after which the search ends",
            "training.replicas": "seeds that judge each setting",
        },
        "Which settings: KEY=VALUE fixes one, 'KEY=DISTRIBUTION', in quotes, searches it": {
            "training.learning_rate": "0.005, or tag(log,interval(1e-4,1e-1))",
            "training.batch_size": "32, or choice(16,32,64)",
            "training.weight_decay": "0, or interval(0,1e-3)",
        },
        "Where": {
            "output_dir": "folder of all results",
            "name": "of the study",
            "resume": "latest, or the name of a study to go on with",
            "resources.cpus": "CPU cores to use",
            "resources.gpus_per_trial": "share of a GPU for each trial",
            "tracking.uri": "MLflow's server; none keeps records only",
            "search.seed": "of the proposals",
        },
    }
}


def _first_page(command: str) -> str:
    """The keys to begin with, by what they are for."""
    lines = [f"usage: {_PROGRAM} {COMMANDS[command].usage}"]
    for heading, keys in _FIRST[command].items():
        lines += ["", heading]
        for name, text in keys.items():
            default = default_of(name)
            lines.append(f"  {name:<25} {text}" + ("" if default is None else f" [{default}]"))
    count = len(keys_of(command))
    return "\n".join(
        [
            *lines,
            "",
            f"--dry-run shows what {command} would do; --help-all lists all {count} keys.",
        ]
    )


def _page(command: str) -> str:
    keys = list(keys_of(command).values())
    lines = [f"usage: {_PROGRAM} {COMMANDS[command].usage}", "", COMMANDS[command].summary + "."]
    if command == "tune":
        lines += ["", *_GRAMMAR]
    group = None
    for key in keys:
        if key.name.rpartition(".")[0] != group:
            group = key.name.rpartition(".")[0]
            lines.append("")
        lines += _entry(key, default_of(key.name))
    if any(key.searchable for key in keys) and command == "tune":
        lines += [
            "",
            "* may be a distribution. Defaults marked so lie in search_spaces/task and /model.",
        ]
    lines += ["", f"--dry-run shows what {command} would do and changes nothing."]
    return "\n".join(lines)


_GRAMMAR = (
    "A hyperparameter is a value, or a distribution with inclusive bounds (quoted for the shell):",
    "  training.learning_rate=0.005                           fixed",
    "  'training.learning_rate=tag(log,interval(1e-4,1e-1))'  searched, orders of magnitude alike",
    "  'training.batch_size=choice(16,32)'                    one of these",
    "  'network.z_bias=range(0,4,0.5)'                        on a grid",
    "Comma lists make several studies: model=dmu,rhn depth=1,2.",
)


def _entry(key: Key, default: object) -> list[str]:
    star = "*" if key.searchable else ""
    shown = "" if default is None else f" [{default}]"
    only = "".join(f" ({', '.join(names)} only)" for names in (key.tasks, key.models) if names)
    rule = "" if key.kind == "widths" else f"; {key.rule()}"
    text = f"{key.help}{rule}{only}{shown}"
    width = min(shutil.get_terminal_size().columns, 110)
    return textwrap.wrap(
        text,
        width=width,
        initial_indent=f"  {key.name + star:<36}",
        subsequent_indent=" " * 38,
    )
