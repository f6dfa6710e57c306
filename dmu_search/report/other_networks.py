"""Recorded runs of tasks and networks that the paper does not have."""

from collections.abc import Mapping, Sequence

from dmu_search.config.keys import Value
from dmu_search.config.settings import RunSettings
from dmu_search.engine.tasks import task_class
from dmu_search.paper.published import published
from dmu_search.report.document import Column, Row, Section, Table
from dmu_search.report.networks import widths_text
from dmu_search.results.selection import Sample, sample_of
from dmu_search.results.statistics import mean_and_std
from dmu_search.results.trainings import RecordedRun

_SPLITS = ("train", "val", "test")
_COLUMNS = (
    Column("task"),
    Column("model"),
    Column("depth"),
    Column("widths"),
    Column("setting"),
    Column("data"),
    Column("runs x epochs"),
    Column("objective"),
    *(Column(f"{split} {measure}") for split in _SPLITS for measure in ("mean", "std")),
)
_NOTES = (
    "Mean and standard deviation of the sample (n - 1) at each run's epoch with the best "
    "validation result, without runs that diverged. A setting is told by what tells it from the "
    "others of its network.",
)


def other_networks_section(runs: Sequence[RecordedRun]) -> Section | None:
    """Our results where the paper has none, in a table; None where there are no such runs."""
    settings: dict[tuple[str, str, int], dict[RunSettings, None]] = {}
    for run in runs:
        own = run.run
        if run.ended and (own.model, own.depth) not in published(own.task).networks():
            settings.setdefault((own.task, own.model, own.depth), {})[own.setting] = None
    rows = tuple(row for network in sorted(settings) for row in _rows(runs, [*settings[network]]))
    if not rows:
        return None
    title = "Tasks and networks that the paper does not have"
    table = Table("other-networks", title, _COLUMNS, rows, _NOTES, grouped_by=3)
    return Section(table.name, title, (table,))


def _rows(runs: Sequence[RecordedRun], settings: Sequence[RunSettings]) -> list[Row]:
    values = [setting.values() for setting in settings]
    differing = [
        name for name in values[0] if any(each.get(name) != values[0][name] for each in values)
    ]
    samples = [(sample_of(runs, setting), setting.values()) for setting in settings]
    return [_row(sample, own, differing=differing) for sample, own in samples if sample is not None]


def _row(sample: Sample, values: Mapping[str, Value], *, differing: Sequence[str]) -> Row:
    run = sample.setting
    shown = {name.rpartition(".")[2]: values.get(name) for name in differing}
    diverged = f", {sample.diverged} diverged" if sample.diverged else ""
    return Row(
        (
            run.task,
            run.model,
            run.depth,
            widths_text(run.network.widths),
            " ".join(f"{name}={_text(value)}" for name, value in shown.items()) or "the only one",
            sample.data_name,
            f"{sample.runs} x {sample.max_epochs}{diverged}",
            task_class(run.task).objective,
            *(cell for split in _SPLITS for cell in mean_and_std(sample.objective(split))),
        )
    )


def _text(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
