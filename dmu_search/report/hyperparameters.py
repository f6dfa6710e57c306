"""Tables 6 and 7: the published settings, and the best that our searches found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dmu_search.config.keys import KEYS, PUBLISHED, Value
from dmu_search.config.settings import matters
from dmu_search.paper.published import published
from dmu_search.report.document import Column, Content, Row, Section, Table
from dmu_search.report.named_settings import (
    NamedSetting,
    searches_needed,
    settings_of_task,
    unsearched,
)
from dmu_search.report.networks import widths_text
from dmu_search.retraining.exported import read_run_file
from dmu_search.retraining.sources import Sourced

_TITLES = {
    6: "Table 6: settings on the synthetic tasks",
    7: "Table 7: settings on the tasks on data",
}
_PARENTHESES = (
    "In parentheses: not in the paper's table, but in its text, the release, or our default where "
    "neither says; search_spaces/paper/ has the source of each."
)
# Headings where the key's own name would be too long, or says something else than the paper.
_HEADINGS = {
    "training.block_learning_rate_rule": "block rule",
    "data.batches_per_epoch": "batches per epoch (paper: sequences)",
    "data.length": "min sequence length",
}
# Columns before the settings.
_IDENTITY = 4


def settings_section(
    number: int, tasks: Sequence[str], *, sources: Sequence[str], output_dir: Path
) -> Section:
    """Table 6 or 7 for the tasks that it shows; a setting that equals the one above is left out."""
    settings: list[tuple[NamedSetting, ...]] = []
    missing = []
    for task in tasks:
        own = settings_of_task(task, sources, output_dir=output_dir)
        settings += [each for each in own.values() if each]
        if "best" in sources:
            missing += searches_needed(task, unsearched(own))
    keys = [(each, _keys(network)) for network in settings for each in network]
    shown = [name for name in KEYS if any(name in own for _, own in keys)]
    rows = tuple(Row(_cells(each, own, shown=shown), "paper" in each.sources) for each, own in keys)
    same = _same_everywhere(rows, shown)
    columns = (
        *(Column(heading) for heading in ("task", "depth", "model", "settings")),
        *(Column(_heading(name), compact=name not in same) for name in shown),
        Column("widths", compact=False),
        Column("found by", compact=False),
    )
    notes = [_PARENTHESES]
    if same:
        each_same = ", ".join(f"{_heading(name)} {value}" for name, value in same.items())
        notes.append(f"The same for all: {each_same}.")
    table = Table(f"table-{number}", _TITLES[number], columns, rows, tuple(notes))
    return Section(table.name, f"Table {number}", (table,), missing=tuple(missing))


def _same_everywhere(rows: Sequence[Row], shown: Sequence[str]) -> dict[str, str]:
    """The settings that have one value in all rows, which a screen need not repeat."""
    texts = {
        name: {_text(row.cells[_IDENTITY + index]).strip("()") for row in rows}
        for index, name in enumerate(shown)
    }
    return {name: values.pop() for name, values in texts.items() if len(values) == 1}


def _keys(network: Sequence[NamedSetting]) -> set[str]:
    """The keys that the paper or the release name for a network, and those that differ."""
    run = network[0].setting
    record = published(run.task)
    named = [record.settings[each].get(run.model, {}).get(run.depth, {}) for each in PUBLISHED]
    settings = [each.setting.values() for each in network]
    differing = {
        name for name in settings[0] if any(each[name] != settings[0][name] for each in settings)
    }
    return differing.union(record.printed, *named) - {"network.widths"}


def _cells(each: NamedSetting, keys: set[str], *, shown: Sequence[str]) -> tuple[Content, ...]:
    run, printed = each.found.run, published(each.found.run.task).printed
    values = _budgeted(each.found)
    cells: list[Content] = [run.task, run.depth, run.model, each.name]
    for name in shown:
        value = values.get(name) if name in keys and matters(name, values) else None
        if "paper" in each.sources and value is not None and name not in printed:
            cells.append(f"({_text(value)})")
        else:
            cells.append(_text(value) if isinstance(value, bool | tuple) else value)
    return (*cells, widths_text(run.network.widths), _origin(each.found))


def _budgeted(each: Sourced) -> Mapping[str, Value]:
    """Its values; of a found one with the epochs that it was found with."""
    values = each.run.values()
    return values if each.file is None else {**values, **read_run_file(each.file).values}


def _origin(each: Sourced) -> str | None:
    if each.file is None:
        return None
    origin: Mapping[str, Any] = read_run_file(each.file).provenance
    parts = [f"{each.file.parent.name}/{each.file.name}"]
    if "study" in origin:
        parts.append(f"study {origin['study']}, trial {origin.get('trial')}")
    if origin.get("mlflow_run"):
        parts.append(f"MLflow run {origin['mlflow_run']}")
    return "; ".join(parts)


def _heading(name: str) -> str:
    return _HEADINGS.get(name, name.rpartition(".")[2].replace("_", " "))


def _text(value: Value | Content) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
