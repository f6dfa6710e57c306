"""The command ``doctor``: what this machine has, what is wrong, and how to mend it."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.markup import escape

import dmu_search
from dmu_search.cli.invocation import command
from dmu_search.cli.screen import open_console
from dmu_search.config.grammar import parse_overrides
from dmu_search.config.keys import KEYS, Value
from dmu_search.config.roots import default_of
from dmu_search.config.settings import TrackingSettings, build
from dmu_search.data.files import DataStore, file_status
from dmu_search.data.loading import files_of, load_data
from dmu_search.data.settings import DataSettings
from dmu_search.engine.kernels.backend import choose_backend
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks import task_class
from dmu_search.engine.training.passes import training_backend
from dmu_search.errors import DmuSearchError, StorageError
from dmu_search.exit_codes import DONE, SOME_FAILED
from dmu_search.folders import OutputFolder, check_writable
from dmu_search.names import MODELS, TASKS
from dmu_search.paper.data import default_data
from dmu_search.records import read_record, record_files
from dmu_search.study.files import studies_folder
from dmu_search.study.journal import JOURNAL_FILE, read_journal
from dmu_search.study.trials import StudyState
from dmu_search.tracking import check_tracking
from dmu_search.tracking.origin import package_versions


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        what: its name.
        state: what it is like.
        mend: how to mend it; None where there is nothing to do.
        wrong: whether it has to be mended for studies to run; else it may be.
    """

    what: str
    state: str
    mend: str | None = None
    wrong: bool = True

    @property
    def mark(self) -> str:
        """How it is, in a word."""
        if self.mend is None:
            return "[green]ok  [/]"
        return "[red]bad [/]" if self.wrong else "[yellow]note[/]"


def doctor(words: Sequence[str], *, dry_run: bool) -> int:
    """Look at everything a study needs, or at one study; returns 1 where something is wrong.

    Raises:
        DmuSearchError: bad input, or a study that cannot be looked at.
    """
    given = parse_overrides("doctor", words)
    text = {name: str(value) for name, value in given.items() if value is not None}
    output_dir = Path(text.get("output_dir", str(default_of("output_dir"))))
    if "study" in text:
        # It imports scipy, which takes as long as all checks of a machine.
        from dmu_search.cli.study_doctor import mend_study

        return mend_study(open_console(), output_dir, name=text["study"], dry_run=dry_run)
    tracking = TrackingSettings(text.get("tracking.uri"), str(default_of("tracking.experiment")))
    own = cast(Mapping[str, Value], given)
    store = DataStore.from_settings(build(DataSettings, "data", values=own))
    checks: tuple[Callable[[], list[Finding]], ...] = (
        _versions,
        _devices,
        _engine,
        lambda: _data(store),
        lambda: _corpus(own) if "data.corpus" in given else [],
        lambda: _folder(output_dir),
        lambda: _tracking(tracking, output_dir),
        lambda: _studies(output_dir),
        lambda: _records(OutputFolder(output_dir).records),
    )
    findings = [finding for check in checks for finding in check()]
    console = open_console()
    for finding in findings:
        console.print(
            f"{finding.mark} {finding.what:<12} {escape(finding.state)}",
            highlight=False,
            soft_wrap=True,
        )
        if finding.mend is not None:
            console.print(f"     {'':<12} {escape(finding.mend)}", highlight=False, soft_wrap=True)
    wrong = any(finding.mend is not None and finding.wrong for finding in findings)
    return SOME_FAILED if wrong else DONE


def _versions() -> list[Finding]:
    packages = package_versions()
    missing = [name for name, version in packages.items() if version == "not installed"]
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    own = f"dmu_search {dmu_search.__version__}, Python {platform.python_version()}, {versions}"
    mend = f"install {', '.join(missing)}: pip install dmu-search" if missing else None
    return [Finding("versions", own, mend)]


def _devices() -> list[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    findings = [Finding("CPU", f"{cores} cores")]
    if not torch.cuda.is_available():
        built = "with" if torch.version.cuda else "without"
        state = (
            f"none that torch {torch.__version__} (built {built} CUDA) can use: "
            "trials train on the CPU"
        )
        return [*findings, Finding("GPU", state)]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        findings.append(
            Finding(f"GPU {index}", f"{card.name}, {card.total_memory / 2**30:.0f} GiB")
        )
    return findings


def _engine() -> list[Finding]:
    import torch

    backend = choose_backend(torch.device("cpu"), torch.float32)
    if backend.name == "native":
        findings = [Finding("engine", f"native loop, {backend.reason}"), *_plain_models()]
    else:
        findings = [Finding("engine", "PyTorch loop, several times slower", backend.reason)]
    if torch.cuda.is_available():
        gpu = torch.device("cuda")
        by = {
            name: training_backend(task_class(name), gpu, dtype=torch.float32).name
            for name in TASKS
        }
        state = ", ".join(f"{name} by {backend}" for name, backend in by.items())
        findings.append(Finding("engine, GPU", f"{state} (not measured on a GPU yet)"))
    return findings


def _plain_models() -> list[Finding]:
    """The models whose cells the native loop cannot run."""
    import torch

    task, cpu = task_class(next(iter(TASKS))), torch.device("cpu")
    choices = {
        model: training_backend(
            task, cpu, dtype=torch.float32, network=NetworkSettings(model, (1,))
        )
        for model in MODELS
    }
    return [
        Finding("engine", f"PyTorch loop for {model}, several times slower: {choice.reason}")
        for model, choice in choices.items()
        if choice.name != "native"
    ]


def _data(store: DataStore) -> list[Finding]:
    findings = []
    for file in dict.fromkeys(file for task in TASKS for file in files_of(task)):
        try:
            status = file_status(file, store)
        except DmuSearchError as fault:
            return [Finding("data", "the mirror cannot be used", str(fault))]
        if status.state == "missing" and not file.served:
            state = f"{file.name} is not here; only data.corpus=nottingham-midi needs it"
            findings.append(Finding("data", state))
        elif status.state == "missing":
            fetch = "fetched by the first command that needs it, or by python -m dmu_search data"
            mend = f"{fetch}; {file.way_around}" if file.way_around else fetch
            findings.append(Finding("data", f"{file.name} is missing", mend, wrong=False))
        elif status.state == "altered":
            mend = f"delete {status.path} and run python -m dmu_search data"
            findings.append(Finding("data", f"{file.name}: {status.problem}", mend))
        else:
            findings.append(Finding("data", f"{file.name} in the {status.place}: {status.path}"))
    return findings


def _corpus(given: Mapping[str, Value]) -> list[Finding]:
    task = KEYS["data.corpus"].tasks[0]
    settings = build(DataSettings, "data", values={**default_data(task), **given})
    try:
        corpus = load_data(task, settings)
    except DmuSearchError as fault:
        return [Finding("corpus", "cannot be used", str(fault))]
    notes = [] if corpus.warning is None else [Finding("corpus", corpus.warning)]
    return [Finding("corpus", corpus.describe()), *notes]


def _folder(output_dir: Path) -> list[Finding]:
    try:
        check_writable(output_dir)
    except DmuSearchError as fault:
        return [Finding("output_dir", "cannot be used", str(fault))]
    return [Finding("output_dir", f"{output_dir.resolve()} can be written")]


def _studies(output_dir: Path) -> list[Finding]:
    """Studies whose journal is damaged; those of earlier versions have none."""
    findings = []
    for path in sorted(studies_folder(output_dir).glob(f"*/{JOURNAL_FILE}")):
        try:
            StudyState.of(read_journal(path))
        except (StorageError, OSError) as fault:
            name = path.parent.name
            mend = command("doctor", f"study={name}", f"output_dir={output_dir}")
            findings.append(Finding("study", f"{name}: {fault}".partition("; ")[0], mend))
    return findings


def _records(folder: Path) -> list[Finding]:
    findings = []
    for path in record_files(folder):
        try:
            read_record(path)
        except StorageError as fault:
            state, _, mend = str(fault).partition("; ")
            findings.append(Finding("record", state, mend))
    return findings


def _tracking(settings: TrackingSettings, output_dir: Path) -> list[Finding]:
    try:
        return [Finding("tracking", check_tracking(settings, output_dir))]
    except DmuSearchError as fault:
        return [Finding("tracking", "cannot be used", str(fault))]
