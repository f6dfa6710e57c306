"""Whether what the paper says of its results holds in our runs: by rule, from the numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dmu_search.paper.published import Published
from dmu_search.report.document import Evidence, Verdict
from dmu_search.report.figure_claims import findings_of_figure
from dmu_search.report.findings import Finding
from dmu_search.report.named_settings import SOURCE_NAMES
from dmu_search.report.samples import Samples, TaskResults
from dmu_search.report.table_claims import findings_of_table
from dmu_search.results.statistics import SIGNIFICANT, holm

_ONE_RULE = (
    "A claim is the comparisons that it makes; each is tested, both ways. It holds where all go "
    "its way with p < 0.05. Else each counts whose p, corrected by Holm's method for their number, "
    "is below 0.05: as claimed, or the other way. A single run is not tested."
)
TABLE_RULE = (
    f"{_ONE_RULE} Where a claim is about several depths, the mean difference over those with two "
    "runs or more is tested, by Welch's test, and each depth is shown below it; positive is as "
    "claimed. The paper's difference lies outside where it and ours, each with the error of its "
    "runs, differ with p < 0.05. Power is how often runs like the paper's, as many as ours, would "
    "show a difference at all. A spread is the mean distance from the median (Brown and Forsythe)."
)
FIGURE_RULE = (
    f"{_ONE_RULE} Epochs until a threshold are compared by Mann and Whitney's test, in which runs "
    "that never reach it come last; a threshold that no run of either reached says nothing. Shares "
    "of runs are alike where two one-sided tests show that they differ by less than the margin "
    "(Newcombe's 90% interval lies within it), and differ by Fisher's test. Never means a share of "
    "all runs below the margin, partly one between the margin and all less the margin, by exact "
    "binomial tests."
)
HOLDS, PARTLY, FAILS, UNTESTED = "holds", "holds in part", "does not hold", "not tested"
AS_CLAIMED, CONTRARY = "as claimed", "the other way"


@dataclass(frozen=True)
class Decision:
    """What the findings on all checks of a claim say together.

    Attributes:
        outcome: in a word or two.
        words: what there is to add.
        each: the outcome of each finding.
    """

    outcome: str
    words: str
    each: tuple[str, ...]


def rule_of(record: Published) -> str:
    """By which the claims of a task are decided, its margin included."""
    rule = TABLE_RULE if record.figure is None else FIGURE_RULE
    return rule if record.margin is None else f"{rule} The margin: {record.margin.words}."


def verdicts_of(results: TaskResults, sources: Sequence[str]) -> tuple[Verdict, ...]:
    """The verdict on every claim about a task, for the paper's settings and those with runs."""
    read = findings_of_table if results.record.figure is None else findings_of_figure
    verdicts = []
    for claim in results.record.claims:
        for source in sources:
            samples = results.samples(source)
            if samples or source == sources[0]:
                found = [
                    each for check in claim.checks for each in read(results, samples, check=check)
                ]
                settings = _settings_text(source, results.record, samples=samples)
                verdicts.append(_verdict(claim.quote, source, settings=settings, findings=found))
    return tuple(verdicts)


def _verdict(quote: str, source: str, *, settings: str, findings: Sequence[Finding]) -> Verdict:
    decision = decide(findings)
    evidence = tuple(
        Evidence(finding.words, outcome, finding.details)
        for finding, outcome in zip(findings, decision.each, strict=True)
    )
    return Verdict(quote, source, settings, decision.outcome, decision.words, evidence)


def decide(findings: Sequence[Finding]) -> Decision:
    """The outcome of a claim by that of its findings; see the rules above."""
    each = tuple(_outcomes(findings))
    tested = [outcome for one, outcome in zip(findings, each, strict=True) if one.tested]
    claimed, contrary = tested.count(AS_CLAIMED), tested.count(CONTRARY)
    ahead = {
        one.favours for one, outcome in zip(findings, each, strict=True) if outcome == CONTRARY
    }
    favour = f", in {next(iter(ahead)).upper()}'s favour" if len(ahead) == 1 and any(ahead) else ""
    untested = each.count(UNTESTED)
    if not tested:
        return Decision(UNTESTED, "", each)
    if claimed == len(tested):
        left = f"{claimed} of {claimed + untested} comparisons; the others lack runs"
        return Decision(HOLDS, left if untested else "", each)
    words = [f"{claimed} of {len(tested)} comparisons"] if claimed else []
    words += [f"{contrary} of {len(tested)} the other way{favour}"] if contrary else []
    if claimed or contrary:
        return Decision(PARTLY if claimed else FAILS, "; ".join(words), each)
    # Where all fail to show a difference the first, of the results themselves, has the word.
    return Decision(tested[0], "", each)


def _outcomes(findings: Sequence[Finding]) -> Iterator[str]:
    tested = [finding for finding in findings if finding.tested]
    raised = iter(holm([finding.p for finding in tested]))
    # All have to go its way: the probability that chance alone does that is that of one of them.
    whole = all(finding.as_claimed and finding.p < SIGNIFICANT for finding in tested)
    for finding in findings:
        if not finding.tested:
            yield "says nothing" if finding.silent else UNTESTED
        elif next(raised) < SIGNIFICANT or whole:
            yield AS_CLAIMED if finding.as_claimed else CONTRARY
        else:
            by_itself = finding.p < SIGNIFICANT
            yield "not shown once corrected" if by_itself else finding.undecided


def _settings_text(source: str, record: Published, *, samples: Samples) -> str:
    epochs = min((sample.max_epochs for sample in samples.values()), default=record.epochs)
    less = f", {epochs} of {record.epochs} epochs" if epochs < record.epochs else ""
    return f"{SOURCE_NAMES[source]} settings{less}"
