"""The command ``train``: one configuration over several seeds, beside the paper's result."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import or_
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

from dmu_search.cli.invocation import command
from dmu_search.cli.published_values import published_result
from dmu_search.cli.screen import (
    open_console,
    print_left_out,
    print_rows,
    print_warning,
)
from dmu_search.cli.study_pages import engine_in_words, network_text
from dmu_search.cli.tracked import print_where_to_look, tracked
from dmu_search.config.compose import compose_study
from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.grammar import Alternatives, parse_overrides
from dmu_search.config.keys import Value
from dmu_search.config.roots import default_of
from dmu_search.config.settings import PLACES, RunSettings, TrackingSettings, build
from dmu_search.data import Data
from dmu_search.data.loading import load_data
from dmu_search.engine.plans.runs import Trained
from dmu_search.engine.tasks import task_class
from dmu_search.engine.training.trainer import EpochResult
from dmu_search.errors import ConfigError, StorageError
from dmu_search.exit_codes import DONE
from dmu_search.folders import OutputFolder, check_writable, make_folder, make_unique_folder
from dmu_search.names import TASKS
from dmu_search.paper.published import published
from dmu_search.paper.widths import resolve_widths
from dmu_search.report.words import duration, score
from dmu_search.results.trainings import cut_off, read_runs
from dmu_search.retraining.exported import RunFile, read_run_file
from dmu_search.retraining.run import CONFIG_FILE, plan_run, retrain, retraining_backend
from dmu_search.tracking import Tracking

# Replicas whose values fit in a line of progress.
_FEW = 6


def train(words: Sequence[str], *, dry_run: bool) -> int:
    """Run the command; returns its exit code.

    Raises:
        DmuSearchError: bad input, found before anything is written.
    """
    given = _fixed(parse_overrides("train", words))
    file = given.pop("config", None)
    if file is None:
        example = OutputFolder(Path(str(default_of("output_dir")))).best / "polymusic/dmu-d1.yaml"
        raise ConfigError(
            f"config: train needs a file, as in train config={example}; tune writes one"
        )
    run_file = read_run_file(Path(str(file)))
    composed = compose_study(run_file.task, run_file.model, given=given).settings
    defaults = {k: v for k, v in composed.items() if not isinstance(v, Interval | Choice)}
    run = run_file.run(_with_fresh_seeds(given, run_file), defaults)
    output_dir = Path(str(defaults["output_dir"]))
    check_writable(output_dir)
    data = load_data(run.task, run.data)
    console = open_console()
    for warning in filter(None, (data.warning, _changed(run_file, given, data=data))):
        print_warning(console, warning)
    _print_header(console, run, data=data, file=run_file, path=str(file))
    widths = {**defaults, **run_file.values, **given}["network.widths"]
    if not isinstance(widths, tuple):
        note = resolve_widths(run.task, run.model, depth=run.depth, rule=widths)[1]
        print_rows(console, {"note": note})
    if dry_run:
        return DONE
    make_folder(output_dir)
    print_rows(console, {"engine": engine_in_words(retraining_backend(run))})
    settings = build(TrackingSettings, "tracking", values=defaults)
    with tracked(console, settings, output_dir=output_dir) as tracking:
        tracking.check()
        tracking.begin([run.task])
        folder = _folder(console, output_dir, run=run, data=data)
        trained = retrain(
            plan_run(folder.name, run, data=data, tags={"config": str(file)}),
            run,
            data=data,
            folder=folder,
            recorder=tracking.recorder,
            on_epoch=_Progress(console, run, tracking),
            on_problem=lambda problem: print_warning(console, problem),
        )
        console.print(_results(run, data, trained=trained))
        console.print(f"weights    {folder}", highlight=False, soft_wrap=True)
        if TASKS[run.task].writes is not None:
            hear = command("generate", f"config={folder / CONFIG_FILE}")
            console.print(f"To let it write:\n  {hear}", highlight=False, soft_wrap=True)
        print_where_to_look(console, tracking, run_ids=[folder.name], settings=settings)
    return DONE


def _folder(console: Console, output_dir: Path, *, run: RunSettings, data: Data) -> Path:
    """That of the same training if it was cut off, to resume it; else a new one."""
    places = OutputFolder(output_dir)
    damaged: list[StorageError] = []
    recorded = read_runs(places.records, on_damage=damaged.append)
    print_left_out(console, damaged)
    begun = cut_off(recorded, run, data_sha256=data.sha256)
    if begun is not None and (places.retrained / begun.run_id).is_dir():
        console.print(
            f"resumes {begun.run_id}, which was cut off in epoch {begun.epochs + 1}",
            highlight=False,
            soft_wrap=True,
        )
        return places.retrained / begun.run_id
    title = f"train-{run.task}-{run.model}-d{run.depth}-{time.strftime('%Y%m%d-%H%M%S')}"
    return make_unique_folder(places.retrained, title)


def _fixed(given: Mapping[str, object]) -> dict[str, Value]:
    faults = [
        f"{name}: train takes one value, no distribution; give it one"
        for name, setting in given.items()
        if isinstance(setting, Interval | Choice | Alternatives)
    ]
    if faults:
        raise ConfigError(*faults)
    return cast(dict[str, Value], dict(given))


def _changed(file: RunFile, given: Mapping[str, Value], *, data: Data) -> str | None:
    """That the file's data is no longer what its setting was found on, in a sentence."""
    other_data = any(name.startswith("data.") and name not in PLACES for name in given)
    if other_data or file.data_sha256 in (None, data.sha256):
        return None
    return f"{data.name}: the data has changed since this setting was found; results differ by it"


def _with_fresh_seeds(given: Mapping[str, Value], file: RunFile) -> dict[str, Value]:
    """Replicas and seeds where the command names none: as many runs as the paper's results have."""
    completed = dict(given)
    if file.provenance or "training.replicas" not in file.values:
        completed.setdefault("training.replicas", published(file.task).runs)
    if file.provenance:
        completed.setdefault("training.seed", file.used_seeds.stop)
    return completed


def _print_header(
    console: Console, run: RunSettings, *, data: Data, file: RunFile, path: str
) -> None:
    training = run.training
    last = training.seed + training.replicas - 1
    seeds = f"{training.seed}" if training.replicas == 1 else f"{training.seed} to {last}"
    if file.provenance:
        seeds += " (the search used others)" if training.seed else ""
    console.rule(f"[bold]{run.task}-{run.model}-d{run.depth}", align="left")
    print_rows(
        console,
        {
            "config": path,
            "network": network_text(run.task, run.network, data=data),
            "data": data.describe(),
            "replicas": f"{training.replicas}, seeds {seeds}",
            "epochs": f"{training.max_epochs}",
        },
    )


@dataclass
class _Progress:
    """Prints a line every so often; rarer as training goes on would hide a divergence."""

    console: Console
    run: RunSettings
    tracking: Tracking
    began: float = 0.0
    epochs_before: int = 0
    spoke_at: float = 0.0

    def __call__(self, result: EpochResult) -> None:
        """Report an epoch, unless the last report is fresh, and what is new of MLflow."""
        for sentence in self.tracking.news():
            print_warning(self.console, sentence)
        max_epochs = self.run.training.max_epochs
        now = time.monotonic()
        if not self.began:
            self.began, self.epochs_before = now - result.wall_time_s, result.epoch - 1
        over = result.epoch == max_epochs or all(map(or_, result.diverged, result.done))
        if now - self.spoke_at < 10 and not over:
            return
        self.spoke_at = now
        epochs_left = 0 if over else max_epochs - result.epoch
        left = (now - self.began) / (result.epoch - self.epochs_before) * epochs_left
        name = f"val_{task_class(self.run.task).objective}"
        diverged, done = sum(result.diverged), sum(result.done)
        self.console.print(
            f"epoch {result.epoch}/{max_epochs}  {name} {_in_short(result.metrics[name])}  "
            + (f"{diverged} diverged  " if diverged else "")
            + (f"{done} done  " if done else "")
            + f"about {duration(left)} left",
            highlight=False,
            soft_wrap=True,
        )


def _results(run: RunSettings, data: Data, *, trained: Trained) -> Table:
    """The objective of each replica at its best epoch, its mean, and the paper's."""
    objective = task_class(run.task).objective
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(objective)
    for split in ("train", "val", "test"):
        table.add_column(split, justify="right")
    table.add_column("best epoch", justify="right")
    columns = [trained.metrics[f"{split}_{objective}"] for split in ("train", "val", "test")]
    bleu = trained.metrics.get("test_bleu", ())
    if bleu:
        table.add_column("test BLEU", justify="right")
    for replica, values in enumerate(zip(*columns, strict=True)):
        seed = run.training.seed + replica
        cells = [score(value) for value in values]
        cells.append(f"{trained.best_epoch[replica]}/{trained.epochs}")
        cells += [f"{bleu[replica]:.2f}"] if bleu else []
        table.add_row(f"replica {replica}, seed {seed}", *cells)
    means = [_mean_std(values) for values in columns]
    means += ["", _mean_std(bleu, lambda value: f"{value:.2f}")] if bleu else []
    table.add_row("[bold]mean ± std", *(f"[bold]{mean}" for mean in means))
    result = published_result(run, data)
    if result is not None:
        cells = [f"{result[s].mean:.3f} ± {result[s].std:.3f}" for s in ("train", "test")]
        record = published(run.task)
        name = f"paper, {record.runs} runs x {record.epochs} epochs"
        table.add_row(name, cells[0], "-", cells[1])
    return table


def _mean_std(values: Sequence[float], text: Callable[[float], str] = score) -> str:
    finite = [value for value in values if value == value]
    mean = statistics.fmean(finite)
    spread = f" ± {text(statistics.stdev(finite))}" if len(finite) > 1 else ""
    return f"{text(mean)}{spread}"


def _in_short(values: Sequence[float]) -> str:
    """Each of a few values, or the range and median of many."""
    finite = [value for value in values if value == value]
    if len(values) <= _FEW or not finite:
        return " ".join(map(score, values))
    median = score(statistics.median(finite))
    return f"{score(min(finite))} to {score(max(finite))}, median {median}"
