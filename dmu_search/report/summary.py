"""The report in a few sentences, counted from its verdicts and cells."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from dmu_search.report.claims import HOLDS, PARTLY, UNTESTED
from dmu_search.report.document import Section
from dmu_search.report.named_settings import SOURCE_NAMES
from dmu_search.report.strips import STATES


def summary_of(sections: Sequence[Section], sources: Sequence[str]) -> tuple[str, ...]:
    """How many claims hold, how many cells agree, and what each table's first comparison gave."""
    return (
        *_claims(sections, sources),
        *_cells(sections, sources),
        *_comparisons(sections),
    )


def _claims(sections: Sequence[Section], sources: Sequence[str]) -> Iterator[str]:
    verdicts = [verdict for section in sections for verdict in section.verdicts]
    for source in sources:
        outcomes = Counter(each.outcome for each in verdicts if each.source == source)
        tested = outcomes.total() - outcomes[UNTESTED]
        if tested:
            named = (HOLDS, PARTLY, *sorted(set(outcomes) - {HOLDS, PARTLY, UNTESTED}), UNTESTED)
            yield (
                f"Claims, {SOURCE_NAMES[source]} settings ({outcomes.total()} verdicts): "
                f"{_counted({name: outcomes[name] for name in named if outcomes[name]})}."
            )


def _cells(sections: Sequence[Section], sources: Sequence[str]) -> Iterator[str]:
    """Of the tables; the paper's figures have no numbers to agree with."""
    states: dict[str, Counter[str]] = {SOURCE_NAMES[source]: Counter() for source in sources}
    for section in sections:
        if section.name.startswith("table"):
            for strip in section.strips:
                for name, cells in strip.rows:
                    states[name].update(cell for cell in cells if cell is not None)
    for name, counts in states.items():
        if counts.total() > counts["none yet"]:
            ordered = {state: counts[state] for state in STATES if counts[state]}
            yield f"Cells of the tables, {name} settings ({counts.total()}): {_counted(ordered)}."


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _comparisons(sections: Sequence[Section]) -> Iterator[str]:
    """The first comparison of the first claim about each table, where it was tested."""
    for section in sections:
        if not section.name.startswith("table"):
            continue
        for verdict in next(iter(section.claims.values()), []):
            first = verdict.evidence[0]
            if first.outcome != UNTESTED:
                yield f"{section.title}, {verdict.settings}: {first.words}: {first.outcome}."
