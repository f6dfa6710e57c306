"""The report, from the published record and the recorded runs."""

from collections.abc import Sequence
from pathlib import Path

from dmu_search.names import TASKS
from dmu_search.paper.published import published
from dmu_search.report.curves import curves_section
from dmu_search.report.document import Report, Section
from dmu_search.report.hyperparameters import settings_section
from dmu_search.report.networks import networks_section
from dmu_search.report.other_networks import other_networks_section
from dmu_search.report.result_tables import results_section
from dmu_search.report.samples import TaskResults, results_of
from dmu_search.report.summary import summary_of
from dmu_search.results.trainings import RecordedRun
from dmu_search.retraining.sources import tasks_of

TABLES = (1, 2, 3, 4, 5, 6, 7)
FIGURES = (2, 3, 4)


def build_report(
    runs: Sequence[RecordedRun],
    *,
    tables: Sequence[int],
    figures: Sequence[int],
    sources: Sequence[str],
    output_dir: Path,
    records: Path | None = None,
) -> Report:
    """The asked-for tables, then the figures; with all of them, what the paper does not have.

    Args:
        runs: what was recorded.
        tables: of the paper, by number.
        figures: likewise.
        sources: whose settings are shown: ``paper``, ``released``, ``best``.
        output_dir: whose best settings come before those shipped, unless worse.
        records: where the runs were read; None for those of ``output_dir``.

    Raises:
        ConfigError: a file of the best settings is damaged.
    """
    synthetic = tuple(task for task in TASKS if published(task).figure is not None)
    on_data = tuple(task for task in TASKS if published(task).table is not None)
    sections: list[Section] = []

    def read(task: str) -> TaskResults:
        return results_of(task, runs, sources=sources, output_dir=output_dir, records=records)

    for number in tables:
        if number in (1, 2):
            sections.append(networks_section(number, synthetic if number == 1 else on_data))
        elif number in (6, 7):
            shown = synthetic if number == 6 else on_data
            sections.append(settings_section(number, shown, sources=sources, output_dir=output_dir))
        else:
            tasks = [read(task) for task in tasks_of([number], ())]
            sections.append(results_section(number, tasks, sources=sources))
    for task in tasks_of((), figures):
        sections.append(curves_section(read(task), sources))
    whole = set(TABLES) <= set(tables) and set(FIGURES) <= set(figures)
    if whole and (others := other_networks_section(runs)) is not None:
        sections.append(others)
    return Report(tuple(sections), _made_from(runs), summary_of(sections, sources))


def _made_from(runs: Sequence[RecordedRun]) -> str:
    """What the report rests on, in a sentence; no date, so that equal records make equal files."""
    ended = [run for run in runs if run.ended]
    count = sum(len(run.replicas) for run in ended)
    hours = sum(run.seconds for run in ended) / 3600
    return (
        f"Made by `python -m dmu_search report` from {count} runs in {len(ended)} recorded "
        f"trainings, {hours:.1f} hours of training in all; nothing is trained for it."
    )
