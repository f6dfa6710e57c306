"""The command ``train``: one configuration over several seeds, beside the paper's result."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dmu_search.cli.published_values import published_result
from dmu_search.cli.screen import duration, open_console, print_rows
from dmu_search.config.compose import compose_study
from dmu_search.config.distributions import Choice, Interval
from dmu_search.config.exported import RunFile, read_run_file
from dmu_search.config.grammar import Alternatives, parse_overrides
from dmu_search.config.keys import Value
from dmu_search.config.settings import RunSettings, TrackingSettings, build
from dmu_search.config.widths import weight_count
from dmu_search.data.corpus import Corpus
from dmu_search.engine.training import EpochResult
from dmu_search.errors import ConfigError
from dmu_search.folders import check_writable, make_folder
from dmu_search.retraining import Retrained, retrain
from dmu_search.tasks import load_data
from dmu_search.tracking import open_tracking

# Runs of a data task that the paper's tables are over.
_REPLICAS = 5


def train(words: Sequence[str], *, dry_run: bool) -> int:
    """Run the command; returns its exit code.

    Raises:
        DmuSearchError: bad input, found before anything is written.
    """
    given = _fixed(parse_overrides("train", words))
    file = given.pop("config", None)
    if file is None:
        raise ConfigError(
            "config: train needs a file, as in train config=runs/best/polymusic/dmu-d1.yaml; "
            "tune writes one"
        )
    run_file = read_run_file(Path(str(file)))
    composed = compose_study(run_file.task, run_file.model, given).settings
    defaults = {k: v for k, v in composed.items() if not isinstance(v, Interval | Choice)}
    run = run_file.run(_with_fresh_seeds(given, run_file, defaults), defaults)
    data = load_data(run.task, run.data)
    console = open_console()
    if data.warning:
        console.print(f"[bold yellow]warning:[/] {escape(data.warning)}", soft_wrap=True)
    _print_header(console, run, data, run_file, str(file))
    if dry_run:
        return 0
    output_dir = Path(str(defaults["output_dir"]))
    check_writable(output_dir)
    make_folder(output_dir)
    tracking = open_tracking(build(TrackingSettings, "tracking", defaults), output_dir)
    retrained = retrain(
        run,
        data,
        output_dir=output_dir,
        tracking=tracking,
        tags={"config": str(file)},
        on_epoch=_Progress(console, run.training.max_epochs),
    )
    console.print(_results(run, data, retrained))
    console.print(f"weights    {retrained.folder}", highlight=False, soft_wrap=True)
    for line in tracking.where_to_look([retrained.name]):
        console.print(line, highlight=False, soft_wrap=True)
    return 0


def _fixed(given: Mapping[str, object]) -> dict[str, Value]:
    faults = [
        f"{name}: train takes one value, no distribution; give it one"
        for name, setting in given.items()
        if isinstance(setting, Interval | Choice | Alternatives)
    ]
    if faults:
        raise ConfigError(*faults)
    return cast(dict[str, Value], dict(given))


def _with_fresh_seeds(
    given: Mapping[str, Value], file: RunFile, defaults: Mapping[str, Value]
) -> dict[str, Value]:
    """Replicas and seeds where the command names none.

    A setting found by a search is trained with seeds that the search did not use; otherwise the
    luck of the seed that won would be counted again.
    """
    completed = dict(given)
    if file.provenance or "training.replicas" not in file.values:
        completed.setdefault("training.replicas", _REPLICAS)
    if file.provenance:
        used = [file.values.get(f"training.{name}", fallback) for name, fallback in _SEEDS.items()]
        completed.setdefault("training.seed", sum(cast(int, value) for value in used))
    return completed


_SEEDS = {"seed": 0, "replicas": 1}


def _print_header(
    console: Console, run: RunSettings, data: Corpus, file: RunFile, path: str
) -> None:
    training, network = run.training, run.network
    count = weight_count(run.task, run.model, network.widths)
    last = training.seed + training.replicas - 1
    seeds = f"{training.seed}" if training.replicas == 1 else f"{training.seed} to {last}"
    if file.provenance:
        seeds += " (the search used others)" if training.seed else ""
    console.rule(f"[bold]{run.task}-{run.model}-d{run.depth}", align="left")
    print_rows(
        console,
        {
            "config": path,
            "network": f"{run.model}, depth {run.depth}, widths {list(network.widths)}, "
            f"{count:,} weights",
            "data": data.describe(),
            "replicas": f"{training.replicas}, seeds {seeds}",
            "epochs": f"{training.max_epochs}",
        },
    )


@dataclass
class _Progress:
    """Prints a line every so often; rarer as training goes on would hide a divergence."""

    console: Console
    max_epochs: int
    began: float = 0.0
    spoke_at: float = 0.0

    def __call__(self, result: EpochResult) -> None:
        """Report an epoch, unless the last report is fresh."""
        now = time.monotonic()
        self.began = self.began or now - result.wall_time_s
        if now - self.spoke_at < 10 and result.epoch < self.max_epochs:
            return
        self.spoke_at = now
        left = (now - self.began) / result.epoch * (self.max_epochs - result.epoch)
        losses = result.metrics["val_nll_nats"]
        few = len(losses) <= _REPLICAS
        values = " ".join(f"{loss:.4f}" for loss in losses) if few else _mean_std(losses)
        diverged = sum(result.diverged)
        self.console.print(
            f"epoch {result.epoch}/{self.max_epochs}  val_nll_nats {values}  "
            + (f"{diverged} diverged  " if diverged else "")
            + f"about {duration(left)} left",
            highlight=False,
            soft_wrap=True,
        )


def _results(run: RunSettings, data: Corpus, retrained: Retrained) -> Table:
    """Losses of each replica at its best epoch, their mean, and the paper's."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("nats per step")
    for split in ("train", "val", "test"):
        table.add_column(split, justify="right")
    table.add_column("best epoch", justify="right")
    columns = [retrained.metrics[f"{split}_nll_nats"] for split in ("train", "val", "test")]
    for replica, values in enumerate(zip(*columns, strict=True)):
        seed = run.training.seed + replica
        cells = [f"{value:.4f}" for value in values]
        epoch = f"{retrained.best_epoch[replica]}/{retrained.epochs}"
        table.add_row(f"replica {replica}, seed {seed}", *cells, epoch)
    table.add_row("[bold]mean ± std", *(f"[bold]{_mean_std(values)}" for values in columns))
    result = published_result(run, data)
    if result is not None:
        cells = [f"{result[s].mean:.3f} ± {result[s].std:.3f}" for s in ("train", "test")]
        table.add_row("paper, 5 runs x 500 epochs", cells[0], "-", cells[1])
    return table


def _mean_std(values: Sequence[float]) -> str:
    finite = [value for value in values if value == value]
    mean = statistics.fmean(finite)
    return f"{mean:.4f} ± {statistics.stdev(finite):.4f}" if len(finite) > 1 else f"{mean:.4f}"
