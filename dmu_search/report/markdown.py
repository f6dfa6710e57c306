"""A report as Markdown, with its figures beside it."""

from collections.abc import Sequence

from dmu_search.report.document import Evidence, Report, Section, Table, Verdict
from dmu_search.report.strips import STATES, Strip, how_to_list_runs


def markdown(report: Report) -> str:
    """The whole report; figures are those of ``figures/`` in the same folder."""
    parts = ["# Results", report.made_from]
    if report.summary:
        parts.append("\n".join(f"* {_cell(each)}" for each in report.summary))
    if report.strips:
        signs = "; ".join(f"{sign} {state}: {words}" for state, (sign, words) in STATES.items())
        parts += ["## All cells at a glance", f"{signs}.", how_to_list_runs()]
        parts += map(_strip, report.strips)
    claims = [(section, *claim) for section in report.sections for claim in section.claims.items()]
    if claims:
        lines = ["| | the paper says | in our runs |", "|---|---|---|"]
        for section, claim, verdicts in claims:
            outcomes = "<br>".join(f"{each.settings}: {_outcome(each)}" for each in verdicts)
            link = f"[{section.title}](#{section.name})"
            lines.append(f"| {link} | {_cell(claim)} | {outcomes} |")
        parts += ["## Does the paper's claim hold?", "\n".join(lines)]
    parts += [_section(section) for section in report.sections]
    return "\n\n".join(parts) + "\n"


def _strip(strip: Strip) -> str:
    lines = [["", *strip.columns], ["---", *(":-:" for _ in strip.columns)]]
    for name, cells in strip.rows:
        lines.append([name, *("" if cell is None else STATES[cell][0] for cell in cells)])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"[{strip.title}](#{strip.section})\n\n{rows}"


def _section(section: Section) -> str:
    parts = [f'<a id="{section.name}"></a>\n\n## {section.title}']
    parts += [f"![{chart.title}](figures/{chart.name}.svg)" for chart in section.charts]
    parts += [_table(table.compact()) for table in section.tables]
    parts += [_claim(*claim) for claim in section.claims.items()]
    parts += [section.rule] * bool(section.verdicts)
    if section.missing:
        parts.append("Missing:\n\n" + "\n".join(f"* {_cell(each)}" for each in section.missing))
    return "\n\n".join(parts)


def _table(table: Table) -> str:
    headings = [_cell(column.heading) for column in table.columns]
    rules = ["---:" if table.is_number(index) else "---" for index in range(len(headings))]
    rows = [[_cell(text) for text in row] for row in table.texts()]
    lines = [f"| {' | '.join(row)} |" for row in (headings, rules, *rows)]
    return "\n\n".join([f"**{table.title}**", "\n".join(lines), *map(_cell, table.notes)])


def _claim(claim: str, verdicts: Sequence[Verdict]) -> str:
    parts = [f"> {_cell(claim)}"]
    for verdict in verdicts:
        parts.append(f"With the {verdict.settings}: {_outcome(verdict)}.")
        parts.append("\n".join(map(_evidence, verdict.evidence)))
    return "\n\n".join(parts)


def _outcome(verdict: Verdict) -> str:
    return f"**{verdict.outcome}**" + (f" ({_cell(verdict.words)})" if verdict.words else "")


def _evidence(evidence: Evidence) -> str:
    details = [f"\n  * {_cell(each)}" for each in evidence.details]
    return f"* {_cell(evidence.words)}: {evidence.outcome}{''.join(details)}"


def _cell(text: str) -> str:
    for symbol in ("|", "<", ">", "*"):
        text = text.replace(symbol, f"\\{symbol}")
    return text.replace("](", "]\\(")
