"""The command ``reproduce``: what tables and figures need, planned, trained and recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from dmu_search.cli import reproduce_pages
from dmu_search.cli.repeat import repeat
from dmu_search.cli.screen import open_console
from dmu_search.cli.trainings import (
    Means,
    Work,
    check_places,
    fixed_values,
    load_all,
    recorded_runs,
    train,
)
from dmu_search.config.grammar import Alternatives, Setting, parse_overrides
from dmu_search.config.keys import PUBLISHED
from dmu_search.errors import ConfigError
from dmu_search.exit_codes import DONE, INTERRUPTED, SOME_FAILED
from dmu_search.folders import OutputFolder, check_writable
from dmu_search.names import MODELS, TASKS
from dmu_search.paper.published import published
from dmu_search.results.trainings import RecordedRun, read_runs
from dmu_search.retraining.needs import needs_of, settings_for
from dmu_search.retraining.plan_folder import write_plan_folder
from dmu_search.retraining.short_runs import check_settings, compared, shortened
from dmu_search.retraining.sources import Settings, tasks_of
from dmu_search.study.settings import alternatives

_RUN_GROUPS = ("network.", "training.", "data.")


@dataclass(frozen=True)
class _Asked:
    """What the words of the command ask for."""

    settings: Settings
    means: Means
    plan_only: bool
    short: bool


def reproduce(words: Sequence[str], *, dry_run: bool) -> int:
    """Run the command; returns its exit code, 1 also where a task was left out for lack of data.

    Raises:
        DmuSearchError: bad input, found before anything is written.
    """
    given = parse_overrides("reproduce", words)
    if "cell" in given:
        return repeat(given, dry_run=dry_run)
    asked = _asked(given)
    console = open_console()
    recorded = recorded_runs(console, asked.means)
    settings = _recorded_tasks(asked.settings, recorded) if asked.short else asked.settings
    data, absent = load_all(settings)
    reproduce_pages.print_data(console, data, absent=absent)
    settings = tuple(pair for pair in settings if pair[1].run.task not in absent)
    if asked.short:
        settings = shortened(settings, recorded, data=data)
    work = Work(console, needs_of(settings, recorded, data=data), recorded, data)
    code = DONE
    if dry_run:
        work.show(asked.means.resources)
    elif asked.plan_only:
        _write_plan(work, asked.means.output_dir)
    else:
        code = train(work, asked.means)
        if asked.short and code != INTERRUPTED:
            new = read_runs(OutputFolder(asked.means.output_dir).records)
            found = compared(settings, recorded, new=new, data=data)
            reproduce_pages.print_comparisons(console, found)
            code = code or (DONE if all(one.agrees for one in found) else SOME_FAILED)
    return code or (SOME_FAILED if absent else DONE)


def _asked(given: Mapping[str, Setting | Alternatives]) -> _Asked:
    values = fixed_values(given)
    output_dir = Path(str(values["output_dir"]))
    check_writable(output_dir)
    tasks = _tasks(given)
    models = alternatives(given["model"]) if "model" in given else tuple(MODELS)
    check_places(given, tasks, models=models)
    settings = settings_for(
        tasks,
        models,
        depths=cast(tuple[int, ...], alternatives(given["depth"])) if "depth" in given else (),
        sources=alternatives(given["source"]) if "source" in given else PUBLISHED,
        output_dir=output_dir,
        given={k: v for k, v in values.items() if k.startswith(_RUN_GROUPS) and k in given},
    )
    if not settings:
        raise ConfigError(
            "source: there is no setting of this source for these tasks, models and depths; "
            "leave some out, or find settings with tune"
        )
    short = bool(values.get("short"))
    if short and (faults := check_settings(given)):
        raise ConfigError(*faults)
    if short and "records" not in given:
        raise ConfigError("short: needs recorded runs to compare with; add records=docs/results")
    if "runs" in given:
        raise ConfigError("runs: is of a cell; add cell=table-3/dmu-d1, or leave it out")
    return _Asked(settings, Means.of(values), bool(values.get("plan_only")), short)


def _recorded_tasks(settings: Settings, recorded: Sequence[RecordedRun]) -> Settings:
    """The settings of tasks that have recorded trainings.

    Raises:
        ConfigError: none has.
    """
    tasks = {run.run.task for run in recorded}
    kept = tuple(pair for pair in settings if pair[1].run.task in tasks)
    if not kept:
        raise ConfigError("records: has no training of these tasks; name others, or another folder")
    return kept


def _tasks(given: Mapping[str, Setting | Alternatives]) -> tuple[str, ...]:
    """The tasks of the tables and figures, or of ``task``; all where none is named."""
    tables = cast(tuple[int, ...], alternatives(given["table"])) if "table" in given else ()
    figures = cast(tuple[int, ...], alternatives(given["figure"])) if "figure" in given else ()
    trained = {published(task).table for task in TASKS}
    if needless := [str(table) for table in tables if table not in trained]:
        raise ConfigError(
            f"table={','.join(needless)}: needs no training; `python -m dmu_search report` "
            "prints it"
        )
    in_paper = tuple(task for task in TASKS if published(task).in_paper)
    tasks = tasks_of(tables, figures) if tables or figures else in_paper
    if "task" in given:
        chosen = alternatives(given["task"])
        if unknown := [task for task in chosen if task not in in_paper]:
            raise ConfigError(
                f"task={','.join(unknown)}: the paper has no such task, so there is nothing to "
                "reproduce; use tune, then train"
            )
        tasks = tuple(task for task in tasks if task in chosen)
        if not tasks:
            raise ConfigError(
                f"task={','.join(chosen)}: is in none of the named tables and figures; leave them "
                "out, or change task"
            )
    return tasks


def _write_plan(work: Work, output_dir: Path) -> None:
    """A folder to be carried to another machine, and what to call there and here."""
    jobs = [each.job for each in work.estimated(workers=1)]
    new = [job for job in jobs if job.continues is None]
    if len(new) < len(jobs):
        reproduce_pages.print_left_here(work.console, len(jobs) - len(new))
    if new:
        folder = write_plan_folder(new, work.data, output_dir=output_dir)
        reproduce_pages.print_way_there(work.console, folder, count=len(new), output_dir=output_dir)
