"""Studies on disk: their names, folders and settings, from which they are gone on with."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dmu_search.config.compose import (
    as_yaml_value,
    check_yaml,
    flatten,
    nest,
    plain_tree,
    read_yaml,
    yaml_text,
)
from dmu_search.config.grammar import Setting
from dmu_search.config.keys import KEYS, did_you_mean
from dmu_search.config.settings import ResourceSettings, SearchSettings, TrackingSettings
from dmu_search.errors import ConfigError
from dmu_search.folders import OutputFolder, make_unique_folder
from dmu_search.study.settings import StudySettings, studies_of

STUDY_FILE = "study.yaml"
# What may differ when a study is gone on with; everything else is the study's own.
RESUME_KEYS = (
    "search.trials",
    "search.max_concurrent",
    "search.time_budget_s",
    "data.root",
    "data.mirror",
    "output_dir",
)


@dataclass(frozen=True)
class Study:
    """A study with its name and place.

    Attributes:
        name: readable and unique under ``output_dir``.
        group: the name of the first study of the same command.
        settings: what is searched.
    """

    name: str
    group: str
    settings: StudySettings

    @property
    def folder(self) -> Path:
        """Where everything of the study lies."""
        return studies_folder(self.settings.output_dir) / self.name


def studies_folder(output_dir: Path) -> Path:
    """Where all studies lie."""
    return OutputFolder(output_dir).studies


def create_studies(settings: Sequence[StudySettings]) -> tuple[Study, ...]:
    """Name the studies of one command and write their settings, so that all can be resumed.

    Raises:
        StorageError: ``output_dir`` cannot be written.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    studies: list[Study] = []
    for one in settings:
        name = make_unique_folder(studies_folder(one.output_dir), f"{one.title}-{stamp}").name
        group = studies[0].group if studies else name
        study = Study(name, group, one)
        (study.folder / STUDY_FILE).write_text(_text(study), encoding="utf-8")
        studies.append(study)
    return tuple(studies)


def find_studies(output_dir: Path, name: str, given: dict[str, Setting]) -> tuple[Study, ...]:
    """The studies to go on with: the one of that name, or all of the latest command.

    Args:
        output_dir: where to look.
        name: of a study, or ``latest``.
        given: settings that replace the study's own; of ``RESUME_KEYS`` or ``resources.*``.

    Raises:
        ConfigError: there is no such study, or a setting cannot be changed.
    """
    folder = studies_folder(output_dir)
    files = sorted(folder.glob(f"*/{STUDY_FILE}"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise ConfigError(f"{folder}: no studies; start one with `python -m dmu_search tune`")
    _check_given(given)
    if name != "latest":
        matching = [file for file in files if file.parent.name == name]
        if not matching:
            known = [file.parent.name for file in files]
            raise ConfigError(
                f"resume={name}: no such study under {folder}{did_you_mean(name, known)}; "
                f"the latest are {', '.join(known[-3:])}"
            )
        return (_load(matching[0], output_dir, given),)
    latest = _load(files[-1], output_dir, given)
    group = [_load(file, output_dir, given) for file in files]
    return tuple(study for study in group if study.group == latest.group)


def _check_given(given: dict[str, Setting]) -> None:
    faults = [
        f"{name}: a study is gone on with as it was started; leave it out, or start a new study"
        for name in given
        if name not in RESUME_KEYS and not name.startswith("resources.")
    ]
    if faults:
        raise ConfigError(*faults)


def _load(file: Path, output_dir: Path, given: dict[str, Setting]) -> Study:
    tree = plain_tree(read_yaml(file))
    try:
        flat = flatten(tree["settings"])
        settings = {name: check_yaml(name, value) for name, value in flat.items()}
        identity = {name: tree[name] for name in ("task", "model", "depth")}
        applying = {
            name: setting
            for name, setting in given.items()
            if KEYS[name].exists_for(identity["task"], identity["model"])
        }
        own = {**settings, **identity, **applying, "output_dir": str(output_dir)}
        (study,) = studies_of(own)
        return Study(tree["name"], tree["group"], study)
    except (KeyError, ValueError) as fault:
        raise ConfigError(
            f"{file}: not the settings of a study ({fault}); restore the file"
        ) from None


def _text(study: Study) -> str:
    settings = study.settings
    flat: dict[str, object] = {name: as_yaml_value(value) for name, value in settings.fixed.items()}
    flat |= {name: str(distribution) for name, distribution in settings.space.items()}
    groups = (
        ("search", settings.search, SearchSettings),
        ("resources", settings.resources, ResourceSettings),
        ("tracking", settings.tracking, TrackingSettings),
    )
    for group, part, kind in groups:
        flat |= {f"{group}.{name}": getattr(part, name) for name in kind.__dataclass_fields__}
    return yaml_text(
        {
            "name": study.name,
            "group": study.group,
            "task": settings.task,
            "model": settings.model,
            "depth": settings.depth,
            "settings": nest(flat),
        }
    )
