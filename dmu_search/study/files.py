"""Studies on disk: their names, folders, settings and journals."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmu_search.config.compose import (
    as_yaml_value,
    check_yaml,
    flatten,
    nest,
    read_plain,
    yaml_text,
)
from dmu_search.config.grammar import Setting
from dmu_search.config.keys import KEYS, did_you_mean
from dmu_search.config.settings import ResourceSettings, SearchSettings, TrackingSettings
from dmu_search.errors import ConfigError, StorageError
from dmu_search.folders import OutputFolder, make_named_folder, make_unique_folder, write_whole
from dmu_search.study.journal import JOURNAL_FILE, Event, Journal, read_journal
from dmu_search.study.settings import StudySettings, studies_of
from dmu_search.study.trials import FORMAT

STUDY_FILE = "study.yaml"
CHECKPOINTS = "checkpoints"
# What may differ when a study is resumed; everything else is the study's own.
RESUME_KEYS = (
    "search.trials",
    "search.finalists",
    "search.finalist_seeds",
    "search.finalist_share",
    "search.max_concurrent",
    "search.time_budget_s",
    "search.patience_trials",
    "search.target",
    "search.min_free_mb",
    "search.page",
    "search.checkpoint_mb",
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

    @property
    def journal(self) -> Path:
        """The file that all of the study can be resumed from."""
        return self.folder / JOURNAL_FILE

    @property
    def checkpoints(self) -> Path:
        """Folder of the states of its trials."""
        return self.folder / CHECKPOINTS

    def events(self) -> tuple[Event, ...]:
        """What its journal says.

        Raises:
            StorageError: the journal is missing or damaged.
        """
        if not self.journal.is_file():
            raise StorageError(
                f"{self.folder}: has no {JOURNAL_FILE}, so the study was begun by an earlier "
                "version, or the file is lost; `report` still reads its runs; start a new study"
            )
        events = read_journal(self.journal)
        if not events or events[0]["event"] != "study":
            raise StorageError(
                f"{self.journal}: its beginning is lost; `python -m dmu_search doctor "
                f"study={self.name}` mends it where that is possible"
            )
        return events


def studies_folder(output_dir: Path) -> Path:
    """Where all studies lie."""
    return OutputFolder(output_dir).studies


def create_studies(settings: Sequence[StudySettings], name: str | None = None) -> tuple[Study, ...]:
    """Name the studies of one command and write their settings, so that all can be resumed.

    Args:
        settings: of each.
        name: the user's own; of several studies the beginning of each name; None: by the clock.

    Raises:
        StorageError: ``output_dir`` cannot be written.
        ConfigError: there is a study of that name.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    studies: list[Study] = []
    for one in settings:
        parent = studies_folder(one.output_dir)
        if name is None:
            own = make_unique_folder(parent, f"{one.title}-{stamp}").name
        else:
            own = name if len(settings) == 1 else f"{name}-{one.title}"
            make_named_folder(parent, own)
        group = studies[0].group if studies else name or own
        study = Study(own, group, one)
        tree = _tree(study)
        write_whole(study.folder / STUDY_FILE, yaml_text(tree).encode())
        journal = Journal(study.journal)
        journal.append({"event": "study", "format": FORMAT, "study": tree})
        journal.close()
        studies.append(study)
    return tuple(studies)


def find_studies(output_dir: Path, name: str, *, given: dict[str, Setting]) -> tuple[Study, ...]:
    """The studies to resume: the one of that name, or all of the latest command.

    Args:
        output_dir: where to look.
        name: of a study, or ``latest``.
        given: settings that replace the study's own; of ``RESUME_KEYS`` or ``resources.*``.

    Raises:
        ConfigError: there is no such study, or a setting cannot be changed.
    """
    folder = studies_folder(output_dir)
    folders = _folders(folder)
    if not folders:
        raise ConfigError(f"{folder}: no studies; start one with `python -m dmu_search tune`")
    _check_given(given)
    if name != "latest":
        matching = [each for each in folders if each.name == name]
        if not matching:
            known = [each.name for each in folders]
            raise ConfigError(
                f"resume={name}: no such study under {folder}{did_you_mean(name, known)}; "
                f"the latest are {', '.join(known[-3:])}"
            )
        return (_load(matching[0], output_dir, given=given),)
    group = _load(folders[-1], output_dir, given=given).group
    same = [each for each in folders if _group_of(each) == group]
    return tuple(_load(each, output_dir, given=given) for each in same)


def all_studies(output_dir: Path) -> tuple[list[Study], list[ConfigError]]:
    """All studies, the one begun first first; and why others cannot be read."""
    studies, faults = [], []
    for folder in _folders(studies_folder(output_dir)):
        try:
            studies.append(_load(folder, output_dir, given={}))
        except ConfigError as fault:
            faults.append(fault)
    return studies, faults


def named_studies(
    output_dir: Path, name: str, *, settings: Sequence[StudySettings]
) -> tuple[Study, ...] | None:
    """The studies that an earlier run of the same command began; None if there are none.

    Args:
        output_dir: where to look.
        name: given by the user.
        settings: what the command asks for now.

    Raises:
        ConfigError: there are studies of that name, of other tasks or with other settings.
    """
    folders = [each for each in _folders(studies_folder(output_dir)) if _group_of(each) == name]
    if not folders:
        return None
    studies = [_load(each, output_dir, given={}) for each in folders]
    begun = {study.settings.title: study for study in studies}
    faults = []
    for one in settings:
        study = begun.get(one.title)
        if study is None:
            faults.append(f"name={name}: has no study {one.title}; choose another name")
            continue
        old, new = (flatten(_tree(Study(name, name, s))["settings"]) for s in (study.settings, one))
        faults += [
            f"name={name}: began with {key}={old.get(key)}, now {new.get(key)}; "
            "choose another name, or leave it as it was"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key) and not _may_change(key)
        ]
    if faults:
        raise ConfigError(*faults)
    return tuple(Study(begun[one.title].name, begun[one.title].group, one) for one in settings)


def _folders(parent: Path) -> list[Path]:
    """Folders of studies, the one begun first first."""
    began: dict[Path, float] = {}
    for name in (STUDY_FILE, JOURNAL_FILE):
        for file in parent.glob(f"*/{name}"):
            began.setdefault(file.parent, file.stat().st_mtime)
    return sorted(began, key=lambda folder: began[folder])


def _may_change(name: str) -> bool:
    return name in RESUME_KEYS or name.startswith("resources.")


def _check_given(given: Mapping[str, Setting]) -> None:
    faults = [
        f"{name}: a study is resumed as it was started; leave it out, or start a new study"
        for name in given
        if not _may_change(name)
    ]
    if faults:
        raise ConfigError(*faults)


def _tree_of(folder: Path) -> Mapping[str, Any]:
    """What a study was started with: by its settings file, else by its journal.

    Raises:
        ConfigError: neither can be read.
    """
    file = folder / STUDY_FILE
    try:
        return read_plain(file)
    except ConfigError as error:
        if not (folder / JOURNAL_FILE).exists():
            raise
        try:
            return dict(read_journal(folder / JOURNAL_FILE)[0]["study"])
        except (StorageError, LookupError, TypeError, OSError):
            raise error from None


def _group_of(folder: Path) -> str | None:
    """None for a folder whose settings cannot be read: it is no reason to leave others alone."""
    try:
        group = _tree_of(folder).get("group")
        return None if group is None else str(group)
    except ConfigError:
        return None


def _load(folder: Path, output_dir: Path, *, given: Mapping[str, Setting]) -> Study:
    return study_of(_tree_of(folder), folder, output_dir=output_dir, given=given)


def study_of(
    tree: Mapping[str, Any],
    folder: Path,
    *,
    output_dir: Path,
    given: Mapping[str, Setting] | None = None,
) -> Study:
    """The study that the content of a settings file describes.

    Args:
        tree: that content.
        folder: of the study.
        output_dir: where it is now; it may have been moved.
        given: settings that replace its own.

    Raises:
        ConfigError: the content is not that of a settings file.
    """
    try:
        flat = flatten(tree["settings"])
        settings = {name: check_yaml(name, value) for name, value in flat.items()}
        identity = {name: tree[name] for name in ("task", "model", "depth")}
        applying = {
            name: setting
            for name, setting in (given or {}).items()
            if KEYS[name].exists_for(identity["task"], identity["model"])
        }
        own = {**settings, **identity, **applying, "output_dir": str(output_dir)}
        (study,) = studies_of(own)
        return Study(folder.name, tree["group"], study)
    except (KeyError, ValueError, AttributeError, TypeError) as fault:
        raise ConfigError(
            f"{folder / STUDY_FILE}: not the settings of a study ({' '.join(str(fault).split())}); "
            f"`python -m dmu_search doctor study={folder.name}` writes it anew from the journal"
        ) from None


def _tree(study: Study) -> dict[str, Any]:
    """Name, identity and settings, as YAML and JSON hold them."""
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
    return {
        "name": study.name,
        "group": study.group,
        "task": settings.task,
        "model": settings.model,
        "depth": settings.depth,
        "settings": nest(flat),
    }
