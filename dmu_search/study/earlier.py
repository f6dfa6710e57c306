"""An earlier study's best settings as the first trials of a new one."""

from dataclasses import replace

from dmu_search.config.keys import Value
from dmu_search.errors import ConfigError
from dmu_search.names import TASKS, signed_loss
from dmu_search.study.files import Study, find_studies
from dmu_search.study.settings import StudySettings, WarmStart, as_text
from dmu_search.study.trials import StudyState, TrialState

# The first trials are never stopped, so there are few.
_TAKEN = 3
_PREFIX = "study:"


def with_earlier(settings: StudySettings) -> StudySettings:
    """Settings whose ``search.warm_start=study:NAME`` is replaced by what that study found.

    The new study keeps the settings themselves, so it does not need the earlier one again.

    Raises:
        ConfigError: there is no such study, it is of another task or other data, or none of its
            settings lies in the new space.
        StorageError: its journal is damaged.
    """
    word = settings.search.warm_start
    if not word.startswith(_PREFIX):
        return settings
    (earlier,) = find_studies(settings.output_dir, word.removeprefix(_PREFIX), given={})
    _check_alike(settings, earlier)
    points = _points(settings, earlier)
    if not points:
        raise ConfigError(
            f"search.warm_start={word}: none of its settings lies in the space of this search; "
            "widen the space, or use search.warm_start=none"
        )
    taken = tuple(points[: min(_TAKEN, settings.search.trials)])
    search = replace(settings.search, warm_start=as_text(taken))
    return replace(settings, search=search, warm_starts=taken)


def _check_alike(settings: StudySettings, earlier: Study) -> None:
    old, new = _identity(earlier.settings), _identity(settings)
    faults = [
        f"search.warm_start=study:{earlier.name}: has {name}={old[name]}, this search "
        f"{name}={new[name]}; choose another study"
        for name in old
        if old[name] != new[name]
    ]
    if faults:
        raise ConfigError(*faults)


def _identity(settings: StudySettings) -> dict[str, object]:
    """What must be the same for settings to be worth the same."""
    return {**settings.measured_on, "model": settings.model}


def _points(settings: StudySettings, earlier: Study) -> list[WarmStart]:
    """Its trials that have shown something and lie in the space, the best first."""
    direction = TASKS[settings.task].direction
    trials = StudyState.of(earlier.events()).trials.values()
    shown = [(t.objective, t) for t in trials if t.objective is not None]
    shown.sort(key=lambda each: signed_loss(each[0], direction))
    points = []
    for _, trial in shown:
        values = _searched(settings, earlier, trial=trial)
        if values and all(value in settings.space[name] for name, value in values.items()):
            points.append(WarmStart(f"{earlier.name} trial {trial.number}", values))
    return points


def _searched(settings: StudySettings, earlier: Study, *, trial: TrialState) -> dict[str, Value]:
    """What the new study searches of a trial's settings, fixed ones of the earlier study too."""
    values = {**earlier.settings.fixed, **trial.values}
    return {
        name: values[name]
        for name in settings.space
        if name in trial.values or name in earlier.settings.fixed
    }
