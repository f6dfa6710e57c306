"""``ds.tune``: a search from Python, by the same code as the command line's."""

import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from dmu_search.api.own import SPACE, model_name, task_name
from dmu_search.api.studies import Study
from dmu_search.cli.screen import open_console
from dmu_search.cli.tune import search
from dmu_search.config.grammar import Setting
from dmu_search.config.keywords import settings_from
from dmu_search.engine.networks.cells import Cell
from dmu_search.engine.tasks.sequences import SequenceTask
from dmu_search.errors import ConfigError
from dmu_search.names import is_own
from dmu_search.report.study_page import write_study_page

Hyperparameter = Setting | list[int]


def tune(
    task: str | SequenceTask | None = None,
    *,
    model: str | type[Cell] | None = None,
    space: Mapping[str, Hyperparameter] | None = None,
    overrides: Mapping[str, Hyperparameter] | None = None,
    config: str | Path | None = None,
    show: bool = True,
    **settings: Hyperparameter | Path,
) -> Study:
    """Search for the best setting of a network on a task; the command ``tune`` as a function.

    A Ctrl-C ends the search in order, and what there is by then is returned. So does the end of
    ``time_budget_s``. ``tune(resume=NAME)`` goes on with a study.

    Args:
        task: its name, or an object of one's own, such as a subclass of ``ds.SequenceTask``; None:
            the default, or that of ``config``.
        model: name of the recurrent network, or a subclass of ``ds.cells.Cell``. Classes travel to
            Ray's workers by value; only this process can resume their study.
        space: what is searched or fixed: distributions (``ds.log``, ``ds.interval``, ``ds.grid``,
            ``ds.choice``), their texts as on the command line, or values.
        overrides: any keys by their whole names, as ``{"search.seed": 3}``.
        config: a file of one's own settings and distributions, below all arguments.
        show: whether the screen of the command line is shown.
        settings: any key by its last part, where only one has it, as ``trials=30``,
            ``max_epochs=60``, ``corpus="demo"``; ``python -m dmu_search tune --help`` has all.

    Returns:
        The study, ended or interrupted.

    Raises:
        ConfigError: bad input, all faults together, before anything is written.
        DataError: data is missing or damaged.
        StorageError: the disk is full or cannot be written; the study is kept for a resume.
        TrackingError: MLflow's store or server cannot be used.
        ClusterError: Ray does not start, or is lost; the study is kept for a resume.
    """
    chosen = {
        "task": None if task is None else task_name(task),
        "model": None if model is None else model_name(model),
        "config": config,
    }
    given = settings_from(
        "tune",
        {name: value for name, value in chosen.items() if value is not None},
        settings,
        space or {},
        overrides or {},
    )
    own = [chosen[key] for key in ("task", "model") if is_own(str(chosen[key]))]
    if "resume" in given:
        # It knows its task and model; their classes are known again now.
        given = {key: value for key, value in given.items() if given[key] not in own}
    elif own:
        # The page's process does not have the classes, so this one writes it in the end.
        given = {**(SPACE if is_own(str(chosen["task"])) else {}), **given, "search.page": False}
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError(
            "tune: must be called on the main thread, which gets Ctrl-C; call it there"
        )
    ended = search(given, console=open_console(quiet=not show))
    sys.stdout.flush()
    if ended.fault is not None:
        raise ended.fault
    if len(ended.studies) > 1:
        names = ", ".join(study.name for study in ended.studies)
        raise ConfigError(f"resume: latest are several studies; resume one of {names}")
    if own:
        write_study_page(ended.studies[0], final=True)
    return Study(ended.studies[0])
