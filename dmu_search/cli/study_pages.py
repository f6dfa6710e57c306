"""The pages of ``tune``: header, plan, result and end, and the note on the MLflow run."""

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dmu_search.cli.invocation import command, folder_words, in_job
from dmu_search.cli.published_values import published_result
from dmu_search.cli.screen import print_rows, settings_text
from dmu_search.cli.tracked import print_where_to_look
from dmu_search.data import Data
from dmu_search.data.loading import network_of
from dmu_search.engine.kernels.backend import BackendChoice
from dmu_search.engine.settings import NetworkSettings
from dmu_search.engine.tasks import task_class
from dmu_search.on_ray.progress import TrialView
from dmu_search.on_ray.resources import TrialShare, idle
from dmu_search.on_ray.search import Outcome
from dmu_search.on_ray.session import Cluster
from dmu_search.paper.published import published
from dmu_search.report.words import number, score
from dmu_search.retraining.best import Kept
from dmu_search.study.files import Study
from dmu_search.study.settings import StudySettings
from dmu_search.tracking import Tracking


def print_header(
    console: Console,
    study: Study,
    *,
    data: Data,
    cluster: Cluster,
    share: TrialShare,
    backend: BackendChoice,
    tracking: Tracking,
) -> None:
    """Say what is about to run, on what, and where it is logged."""
    settings = study.settings
    idle_part = idle(
        share,
        cpus=cluster.cpus,
        gpus=cluster.gpus,
        max_concurrent=settings.search.max_concurrent,
    )
    console.rule(f"[bold]{study.name}", align="left")
    rows = {
        **_what(settings, data),
        "devices": _devices(cluster, share),
        "at a time": _at_a_time(share),
        **({} if idle_part is None else {"idle": idle_part}),
        "engine": engine_in_words(backend),
        "MLflow": tracking.uri or "off: records only",
        "folder": str(study.folder),
    }
    print_rows(console, rows)


def print_plan(console: Console, settings: StudySettings, *, data: Data) -> None:
    """Say what would run: settings, space, number and cost of the trials."""
    console.rule(f"[bold]{settings.title}", align="left")
    trials, epochs = settings.search.trials, settings.max_epochs
    whole = trials * epochs
    cost = f"{trials} trials of at most {epochs} epochs: {whole} epochs"
    if settings.search.scheduler != "none":
        cost += f"; weak trials end from epoch {settings.grace_epochs} on"
    steps = whole * data.steps_per_epoch(settings.heaviest().training.batch_size)
    steps *= settings.example().training.replicas
    rows = {
        **_what(settings, data),
        "cost": f"{cost}; {steps:.2g} training steps of the network at most",
        "search": ", ".join(
            f"{name}={getattr(settings.search, name)}"
            for name in (
                "sampler",
                "seed",
                "startup_trials",
                "scheduler",
                "warm_start",
                "prior",
                "finalists",
                "finalist_seeds",
                "finalist_share",
            )
        ),
    }
    print_rows(console, rows)
    table = Table("key", "value or distribution", box=None, pad_edge=False, header_style="bold")
    for name, value in settings.fixed.items():
        table.add_row(name, escape(str(list(value) if isinstance(value, tuple) else value)))
    for name, distribution in settings.space.items():
        table.add_row(f"[bold]{name}", f"[bold]{distribution}")
    console.print(table)
    for point in settings.warm_starts:
        console.print(f"tried first ({point.source}): {settings_text(point.values)}")


def _what(settings: StudySettings, data: Data) -> dict[str, str]:
    rows = {
        "task": settings.task,
        "network": network_text(settings.task, settings.example().network, data=data),
        "data": data.describe(),
        "objective": f"best {objective_name(settings)}",
    }
    for index, note in enumerate(settings.notes):
        rows[f"note{index or ''}"] = note
    return rows


def objective_name(settings: StudySettings) -> str:
    """What trials are judged by, as in ``val_nll_nats, worst of 3 replicas``."""
    name = f"val_{task_class(settings.task).objective}"
    if settings.replicas == 1:
        return name
    return f"{name}, {settings.search.objective.partition('_')[0]} of {settings.replicas} replicas"


def network_text(task: str, network: NetworkSettings, *, data: Data) -> str:
    """Model, depth, widths and weights of the network that is trained on ``data``."""
    count = network_of(task, data, settings=network).weight_count
    widths = list(network.widths)
    return f"{network.model}, depth {network.depth}, widths {widths}, {count:,} weights"


def _devices(cluster: Cluster, share: TrialShare) -> str:
    parts = [f"{cluster.cpus:g} CPU cores"]
    if cluster.gpus:
        parts.append(f"{cluster.gpus:g} GPUs")
    if cluster.nodes > 1:
        parts.append(f"{cluster.nodes} nodes")
    text = ", ".join(parts)
    if cluster.joined and not cluster.gpus:
        text += " (no GPU has joined: trials train on the CPU; resources.min_gpus waits for some)"
    if share.gpus and cluster.nodes == 1 and not torch.cuda.is_available():
        text += " (CUDA cannot be used here: trials train on the CPU)"
    return text


_ENGINES = {
    "graphs": "CUDA graphs of whole steps, {}",
    "native": "native loop, {}",
    "reference": "PyTorch loop, several times slower than could be: {}",
}


def engine_in_words(backend: BackendChoice) -> str:
    """What trains, and why that."""
    return _ENGINES[backend.name].format(backend.reason)


def _at_a_time(share: TrialShare) -> str:
    cpus = f"{share.cpus:g} CPU core" + ("s" if share.cpus > 1 else "")
    own = f"{share.gpus:g} GPU and {cpus}" if share.gpus else cpus
    return f"{share.concurrent} trial{'s' if share.concurrent > 1 else ''}, {own} each"


def print_result(
    console: Console,
    study: Study,
    *,
    outcome: Outcome,
    data: Data,
    kept: Kept | None,
    failures: Sequence[TrialView],
) -> None:
    """Say which setting won, beside the paper's, and where it was exported."""
    counts = outcome.counts
    console.print(
        f"{study.name}: {counts.get('finished', 0)} trials finished, "
        f"{counts.get('stopped early', 0)} stopped early, "
        f"{counts.get('failed', 0) + counts.get('diverged', 0)} failed or diverged, "
        f"{outcome.missing} to go",
        highlight=False,
        soft_wrap=True,
    )
    ended = f" ({outcome.enough})" if outcome.enough and not outcome.missing else ""
    console.print(f"spent      {outcome.spent}{ended}", highlight=False, soft_wrap=True)
    for view in failures:
        console.print(f"[red]trial {view.number} failed:[/] {escape(view.error or '')}")
    if outcome.best is None or kept is None:
        console.print("No trial used its whole budget yet, so there is no best setting.")
        return
    console.print(_comparison(study.settings, outcome, data=data))
    console.print(f"exported   {kept.own}", highlight=False, soft_wrap=True)
    console.print(f"           {kept.slot} ({kept.reason})", highlight=False, soft_wrap=True)


def _comparison(settings: StudySettings, outcome: Outcome, *, data: Data) -> Table:
    """The best setting beside the published ones: searched keys, then results."""
    best = outcome.best
    assert best is not None
    record = published(settings.task)
    sources = {
        source: models[settings.model][settings.depth]
        for source, models in record.settings.items()
        if settings.depth in models.get(settings.model, {})
    }
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column(f"best (trial {best.number})", justify="right")
    for source in sources:
        table.add_column(source, justify="right")
    for name in settings.space:
        found = number(best.values[name]) if name in best.values else "-"
        others = [number(values[name]) if name in values else "-" for values in sources.values()]
        table.add_row(name, found, *others)
    searched = [_objective_of(outcome, source) for source in sources]
    objective = task_class(settings.task).objective
    name = f"{objective_name(settings)}, this search"
    table.add_row(name, f"[bold]{score(best.objective)}", *searched)
    result = published_result(settings, data)
    for split in ("train", "test"):
        name = f"{split}_{objective}"
        own = best.summary.get(name)
        label = f"{name}; paper after {record.epochs} epochs" if result else name
        row = [label, "-" if own is None else score(own)]
        for source in sources:
            cell = result[split] if result and source == "paper" else None
            row.append(f"{cell.mean:.3f} ± {cell.std:.3f}" if cell else "-")
        table.add_row(*row)
    if "test_bleu" in best.summary:
        table.add_row("test_bleu", f"{best.summary['test_bleu']:.2f}")
    return table


def _objective_of(outcome: Outcome, source: str) -> str:
    for sources, value in outcome.warm_starts.items():
        if source in sources.split(", "):
            return score(value)
    return "-"


_WHY = {
    "interrupted": "interrupted",
    "time budget": "the time budget is used up",
    "fault": "stopped",
}


def print_resume(console: Console, studies: Sequence[Study], *, stopped: str) -> None:
    """Say how to carry on with what was stopped."""
    console.print(resume_text(studies, _WHY[stopped]), highlight=False, soft_wrap=True)


def resume_text(studies: Sequence[Study], why: str) -> str:
    """How to carry on with what was stopped, and why it was."""
    name = studies[0].name if len(studies) == 1 else "latest"
    words = command("tune", f"resume={name}", *folder_words(studies[0].settings.output_dir))
    return f"{why}; what finished is kept. To resume:\n  {in_job(words)}"


def print_end(
    console: Console,
    studies: Sequence[Study],
    *,
    best: Sequence[Path],
    tracking: Tracking,
    stopped: str | None,
) -> None:
    """Say where to look and what to type next.

    Args:
        console: to print on.
        studies: of the command.
        best: a file with the best setting of each that has one.
        tracking: where the runs are.
        stopped: why the studies stopped before their end; None if they did not.
    """
    console.rule(align="left")
    print_where_to_look(
        console,
        tracking,
        run_ids=[study.name for study in studies],
        settings=studies[0].settings.tracking,
        task=studies[-1].settings.task,
    )
    if stopped is not None:
        print_resume(console, studies, stopped=stopped)
        return
    first = studies[0].settings
    say = f"To train the best setting over {published(first.task).runs} fresh seeds:"
    lines = [
        command("train", f"config={file}", *folder_words(studies[0].settings.output_dir))
        for file in best
    ]
    if lines:
        console.print("\n  ".join([say, *lines]), highlight=False, soft_wrap=True)
