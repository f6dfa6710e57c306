"""What may have become of a study's folder, and how it is mended.

Everything follows the journal: it is cut back to its last intact state, and settings file,
checkpoints and mirror are brought in line with what it says then. Nothing is thrown away: what is
replaced stays beside, under a name that ends with ``.damaged-`` and the time.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dmu_search.config.compose import flatten, read_plain, yaml_text
from dmu_search.engine.training.snapshots import read_snapshot
from dmu_search.errors import ConfigError, StorageError
from dmu_search.folders import not_writable, set_aside, write_whole
from dmu_search.records import event_of
from dmu_search.study.files import STUDY_FILE, Study, study_of
from dmu_search.study.journal import JOURNAL_FILE, Event, Journal
from dmu_search.study.mirror import MIRROR_FILE, JournalMirror, mirrored_trials
from dmu_search.study.trials import FORMAT, StudyState, TrialState


@dataclass(frozen=True)
class Found:
    """One thing that was looked at.

    Attributes:
        what: its name.
        state: what it is like.
        remedy: what mending it does, or what the user can do; None where all is well.
        mend: does it; None where all is well or nothing can be done here.
    """

    what: str
    state: str
    remedy: str | None = None
    mend: Callable[[], None] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it is wrong and stays so."""
        return self.remedy is not None and self.mend is None


@dataclass(frozen=True)
class Intact:
    """The last intact state of a journal.

    Attributes:
        lines: that are kept, as they are on disk.
        state: what they say.
        fault: why it ends there; None for a journal that is whole.
    """

    lines: tuple[bytes, ...]
    state: StudyState
    fault: str | None = None

    @property
    def tree(self) -> Mapping[str, Any] | None:
        """What ``study.yaml`` held when the study began; None where that is lost."""
        tree = self.state.identity.get("study")
        return tree if isinstance(tree, Mapping) else None

    @property
    def began_ms(self) -> int:
        """When the study began; 0 where that is lost."""
        time_ms = self.state.identity.get("time_ms")
        return time_ms if isinstance(time_ms, int) else 0


def read_intact(folder: Path) -> Intact:
    """Read a study's journal as far as it is intact; a lost first line is that of ``study.yaml``.

    Raises:
        StorageError: another version wrote it, so that nothing can be said of it.
    """
    path = folder / JOURNAL_FILE
    if not path.is_file():
        return Intact((), StudyState(), "is missing")
    whole = path.read_bytes().rpartition(b"\n")[0]
    lines = whole.split(b"\n") if whole else []
    intact, begun = _begin(folder, lines)
    for number, line in enumerate(lines[begun:], start=begun + 1):
        try:
            intact.state.apply(event_of(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            return replace(intact, fault=f"line {number} is damaged")
        intact = replace(intact, lines=(*intact.lines, line))
    return intact


def _begin(folder: Path, lines: list[bytes]) -> tuple[Intact, int]:
    """The state after the first line, or one by the settings file, and the lines that it takes."""
    path = folder / JOURNAL_FILE
    try:
        event: Event = event_of(lines[0]) if lines else {"event": "nothing"}
    except ValueError:
        event = {"event": "damaged"}
    if event["event"] == "study" and event.get("format") != FORMAT:
        raise StorageError(
            f"{path}: another version wrote it (format {event.get('format')}, not {FORMAT}); "
            "use that version"
        )
    state = StudyState()
    if event["event"] == "study" and isinstance(event.get("study"), Mapping):
        state.apply(event)
        return Intact((lines[0],), state), 1
    try:
        tree = read_plain(folder / STUDY_FILE)
        study_of(tree, folder, output_dir=folder.parents[1])
    except ConfigError:
        return Intact((), state, "its beginning is lost"), len(lines)
    first = {"event": "study", "format": FORMAT, "study": tree, "time_ms": _now_ms()}
    state.apply(first)
    intact = Intact((json.dumps(first).encode(),), state, "its first line is damaged")
    return intact, int(event["event"] in ("damaged", "study"))


def check_journal(folder: Path, intact: Intact, *, trials_recorded: bool) -> Found:
    """The journal against its last intact state.

    Args:
        folder: of the study.
        intact: that state.
        trials_recorded: whether records tell of trials.
    """
    path, kept = folder / JOURNAL_FILE, intact.state.trials
    told = f"{len(intact.lines)} events, {len(kept)} trials"
    if intact.fault is None:
        return Found("journal", f"whole: {told}")
    empty = not path.is_file() or b"\n" not in path.read_bytes()
    if intact.tree is None or (empty and trials_recorded):
        remedy = "`report` still reads the runs; put a copy of it back, or start a new study"
        return Found("journal", intact.fault, remedy)

    def mend() -> None:
        set_aside(path, copy=True)
        write_whole(path, b"".join(line + b"\n" for line in intact.lines))

    beside = "" if empty else f"; the original is beside it as {JOURNAL_FILE}.damaged-TIME"
    return Found("journal", intact.fault, f"cut back to {told}{beside}", mend)


def check_settings(folder: Path, tree: Mapping[str, Any], *, began_ms: int) -> Found:
    """The settings file against what the study began with.

    Args:
        folder: of the study.
        tree: what it began with, by the journal.
        began_ms: when.
    """
    path = folder / STUDY_FILE
    try:
        own = read_plain(path)
        study_of(own, folder, output_dir=folder.parents[1])
    except ConfigError as fault:
        state = "is missing" if not path.exists() else " ".join(fault.faults)

        def mend() -> None:
            set_aside(path)
            write_whole(path, yaml_text(tree).encode())
            # `resume=latest` goes by when a study began.
            os.utime(path, (began_ms / 1000, began_ms / 1000))

        return Found("settings", state, f"{STUDY_FILE} written anew from the journal", mend)
    old, new = flatten(tree), flatten(own)
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    note = f"; a resume takes {', '.join(changed)} from it, not from the journal" if changed else ""
    return Found("settings", f"{STUDY_FILE} is whole{note}")


def check_checkpoints(study: Study, trials: Mapping[int, TrialState]) -> Found:
    """Whether the states that trials are resumed from can be read."""
    files = [(each.number, one.file) for each in trials.values() for one in each.checkpoints]
    useless: dict[int, list[str]] = {}
    for number, file in files:
        if read_snapshot(study.checkpoints / file) is None:
            useless.setdefault(number, []).append(file)
    if not useless:
        return Found("checkpoints", f"{len(files)} can be read")

    def mend() -> None:
        journal = Journal(study.journal)
        for number, names in useless.items():
            journal.append({"event": "dropped", "trial": number, "files": names})
            for name in names:
                (study.checkpoints / name).unlink(missing_ok=True)
        journal.close()

    names = [name for own in useless.values() for name in own]
    return Found(
        "checkpoints",
        f"{len(names)} of {len(files)} cannot be read: {', '.join(names)}",
        "no longer used; a trial is resumed from the one before, or from its start",
        mend,
    )


def check_mirror(study: Study, trials: Mapping[int, TrialState]) -> Found:
    """Optuna's copy of the trials against the journal."""
    path = study.folder / MIRROR_FILE
    ended = sum(trial.over for trial in trials.values())
    there = mirrored_trials(path, study.name)
    if there == ended:
        return Found("mirror", f"{MIRROR_FILE} has the {ended} trials that ended")

    def mend() -> None:
        set_aside(path)
        mirror = JournalMirror.of(study)
        mirror.update(trials)
        if mirror.problem is not None:
            raise not_writable(path, mirror.problem)

    state = (
        "cannot be read" if there is None else f"has {there} trials, the journal {ended} that ended"
    )
    return Found("mirror", f"{MIRROR_FILE} {state}", "written anew from the journal", mend)


def _now_ms() -> int:
    return round(time.time() * 1000)
