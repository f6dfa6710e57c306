"""The command ``tune``: from its words to studies that run inside Ray.

What takes seconds is imported late: faults of a command line are said at once, and all that comes
after Ray has started is imported while it does.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console

from dmu_search.cli.screen import Loudness, open_console, print_warning
from dmu_search.cli.tracked import tracked
from dmu_search.config.grammar import Alternatives, Setting, parse_overrides
from dmu_search.config.roots import default_of
from dmu_search.errors import ConfigError
from dmu_search.exit_codes import DONE
from dmu_search.folders import OutputFolder, check_writable, claimed
from dmu_search.on_ray.ray_log import ray_log
from dmu_search.on_ray.resources import check_shared_folder
from dmu_search.on_ray.witness import witnessed
from dmu_search.records import first_tags
from dmu_search.study.earlier import with_earlier
from dmu_search.study.files import Study, find_studies, named_studies
from dmu_search.study.settings import StudySettings, studies_of
from dmu_search.study.trials import StudyState

if TYPE_CHECKING:
    from dmu_search.cli.searching import Ended
    from dmu_search.data.loading import LoadedData
    from dmu_search.tracking import Tracking

ENDED = "error: the search was killed, or Ray, which it needs, was"


@dataclass(frozen=True)
class Plan:
    """The studies that a command asks for.

    Attributes:
        settings: of each.
        data: of each task.
        begun: studies to resume; None: they are made when they run.
        name: of new ones; None: of their task, model, depth and time.
        loudness: how much to show of them.
    """

    settings: Sequence[StudySettings]
    data: "LoadedData"
    begun: Sequence[Study] | None
    name: str | None
    loudness: Loudness


def tune(words: Sequence[str], *, dry_run: bool) -> int:
    """Run the command; returns its exit code.

    Raises:
        DmuSearchError: bad input, found before anything is written.
    """
    given = parse_overrides("tune", words)
    console = open_console()
    if dry_run:
        return _show(given, console)
    return search(given, console=console).code


def search(given: Mapping[str, Setting | Alternatives], *, console: Console) -> "Ended":
    """Plan and run the studies that settings ask for, one after the other.

    Args:
        given: settings, by key.
        console: where to show them.

    Raises:
        DmuSearchError: bad input, found before anything is written.
    """
    settings, begun = _asked(given)
    first = settings[0]
    check_shared_folder(first.resources, first.output_dir)
    if given.get("screen") != "quiet":
        start = "starting Ray" if first.resources.address is None else "joining the Ray cluster"
        console.print(f"loading the data and {start} ..")
    with (
        # Its process imports MLflow beside all that follows.
        tracked(console, first.tracking, output_dir=first.output_dir) as tracking,
        ExitStack() as locks,
    ):
        if begun is not None:
            _take(begun, locks)
        plan = _plan(given, settings, begun=begun, console=console)
        return _search(console, plan, tracking=tracking, locks=locks)


def _show(given: Mapping[str, Setting | Alternatives], console: Console) -> int:
    """Show what would be searched."""
    settings, begun = _asked(given)
    plan = _plan(given, settings, begun=begun, console=console)
    from dmu_search.cli.study_pages import print_plan

    for each in settings:
        print_plan(console, each, data=plan.data[each.task, each.data])
    return DONE


def _asked(
    given: Mapping[str, Setting | Alternatives],
) -> tuple[Sequence[StudySettings], Sequence[Study] | None]:
    """Settings of the studies, and these themselves if they are to be resumed."""
    given = dict(given)
    resume, name = given.pop("resume", None), given.pop("name", None)
    given.pop("screen", None)
    _check_names(resume, name)
    begun: Sequence[Study] | None = None
    if resume in (None, "auto"):
        settings = [with_earlier(one) for one in studies_of(given)]
        if resume == "auto":
            begun = named_studies(settings[0].output_dir, str(name), settings=settings)
    else:
        begun = _studies_to_resume(str(resume), given)
        settings = [study.settings for study in begun]
    check_writable(settings[0].output_dir)
    return settings, begun


def _take(studies: Sequence[Study], locks: ExitStack) -> None:
    """Find damage, or another process at work, before Ray is started."""
    from dmu_search.tracking.mending import check_trial_records

    for study in studies:
        locks.enter_context(claimed(study.folder))
        StudyState.of(study.events())
        check_trial_records(study)


def _plan(
    given: Mapping[str, Setting | Alternatives],
    settings: Sequence[StudySettings],
    *,
    begun: Sequence[Study] | None,
    console: Console,
) -> Plan:
    """The studies with their data."""
    from dmu_search.data.loading import load_all

    data = load_all((each.task, each.data) for each in settings)
    if begun is not None:
        _check_unchanged(begun, data)
    for warning in {one.warning for one in data.values() if one.warning}:
        print_warning(console, warning)
    name = given.get("name")
    loudness = cast(Loudness, given.get("screen", "normal"))
    return Plan(settings, data, begun, None if name is None else str(name), loudness)


def _check_names(resume: object, name: object) -> None:
    if name in ("latest", "auto"):
        raise ConfigError(
            f"name={name}: has a meaning of its own in resume={name}; choose another name"
        )
    if resume == "auto" and name is None:
        raise ConfigError(
            "resume=auto: begins or resumes the studies of a name; add name=NAME, "
            "or use resume=latest"
        )
    if name is not None and resume not in (None, "auto"):
        raise ConfigError(
            f"name={name}: a study is resumed under its own name; leave one of them out"
        )


def _studies_to_resume(name: str, given: Mapping[str, Setting | Alternatives]) -> tuple[Study, ...]:
    lists = [key for key, setting in given.items() if isinstance(setting, Alternatives)]
    if lists:
        raise ConfigError(f"{lists[0]}: a study is resumed as it was started; leave it out")
    own = {key: setting for key, setting in given.items() if not isinstance(setting, Alternatives)}
    return find_studies(Path(str(own.get("output_dir", default_of("output_dir")))), name, given=own)


def _check_unchanged(studies: Sequence[Study], data: "LoadedData") -> None:
    """A study is resumed on the data that it began with; the user's own files may have changed."""
    faults = []
    for study in studies:
        own = data[study.settings.task, study.settings.data]
        record = OutputFolder(study.settings.output_dir).records / f"{study.name}.jsonl"
        if first_tags(record).get("data.sha256", own.sha256) != own.sha256:
            faults.append(
                f"{study.name}: its data has changed since it began ({own.describe()}); bring the "
                "old files back, or start a new study"
            )
    if faults:
        raise ConfigError(*faults)


def _search(console: Console, plan: Plan, *, tracking: "Tracking", locks: ExitStack) -> "Ended":
    """Start Ray, and run the studies in it; ``locks`` holds those of studies begun before."""
    from dmu_search.on_ray.session import ray_session

    with (
        witnessed(f"{ENDED}; the same command tries again\n") as witness,
        ray_log() as log,
        _imported_meanwhile("dmu_search.cli.searching"),
        ray_session(plan.settings[0].resources, log),
    ):
        from dmu_search.cli.searching import run_studies

        return run_studies(console, plan, tracking=tracking, locks=locks, log=log, witness=witness)


@contextmanager
def _imported_meanwhile(module: str) -> Iterator[None]:
    """Import a module on another thread while a ``with`` block begins.

    Whoever imports it in the block waits for the rest only, and meets what the import raises.
    """
    thread = threading.Thread(target=_try_import, args=(module,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _try_import(module: str) -> None:
    with suppress(Exception):
        import_module(module)
