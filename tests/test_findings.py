"""The numbers of ``docs/results/findings.md``, from the CSV files alone: no code of the report."""

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

RESULTS = Path(__file__).resolve().parents[1] / "docs/results"
SPACES = RESULTS.parents[1] / "search_spaces"

DMU_PAPER, DMU_RELEASED, RHN, FOUND = {}, {}, {}, {}
DMU_PAPER[1] = ["polymusic-dmu-d1-paper-20261123-064122"]
DMU_PAPER[2] = ["polymusic-dmu-d2-paper-20261123-042043"]
DMU_RELEASED[1] = ["polymusic-dmu-d1-released-20261123-071414"]
DMU_RELEASED[2] = ["polymusic-dmu-d2-released-20261123-091743"]
DMU_RELEASED[5] = [
    "plan-20261124-224745-001-polymusic-dmu-d5-released",
    "polymusic-dmu-d5-released-20261123-134319",
]
DMU_RELEASED[10] = [
    "plan-20261124-224747-000-polymusic-dmu-d10-released",
    "polymusic-dmu-d10-released-20261123-141706",
]
RHN[1] = ["polymusic-rhn-d1-paper-released-20261123-064122"]
RHN[2] = ["polymusic-rhn-d2-paper-released-20261123-042043"]
RHN[5] = [
    "plan-20261124-224745-000-polymusic-rhn-d5-released",
    "polymusic-rhn-d5-paper-released-20261123-131106",
]
RHN[10] = ["polymusic-rhn-d10-paper-released-20261123-135451"]
FOUND["dmu", 1] = ["polymusic-dmu-d1-best-20261123-140138"]
FOUND["rhn", 1] = ["polymusic-rhn-d1-best-20261123-130528"]
FOUND["dmu", 2] = ["polymusic-dmu-d2-best-20261123-145547"]
FOUND["rhn", 2] = ["polymusic-rhn-d2-best-20261123-112319"]


def rows(name):
    csv.field_size_limit(sys.maxsize)
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Recorded:
    """The three files."""

    def __init__(self):
        self.replicas = {}
        for row in rows("replicas.csv"):
            self.replicas.setdefault(row["run_id"], {})[row["seed"]] = row
        self.curves = {
            (row["run_id"], row["seed"]): np.array(row["validation_objective"].split(), float)
            for row in rows("curves.csv")
        }

    def values(self, runs, metric="test_nll_nats"):
        return np.array(
            [
                float(row[metric])
                for run in runs
                for seed, row in self.replicas[run].items()
                if not np.isnan(self.curves[run, seed]).any()
            ]
        )

    def below(self, run):
        counts = [
            sum(bool((self.curves[run, seed] < limit).any()) for seed in self.replicas[run])
            for limit in (1e-2, 1e-4, 1e-6)
        ]
        return " / ".join(map(str, counts))


@pytest.fixture(scope="module")
def recorded():
    return Recorded()


@pytest.fixture(scope="module")
def text():
    return (RESULTS / "findings.md").read_text(encoding="utf-8")


def paper(task):
    return yaml.safe_load((SPACES / f"paper/{task}.yaml").read_text(encoding="utf-8"))["results"]


def spread(values, decimals=3):
    return f"{np.mean(values):.{decimals}f} ± {np.std(values, ddof=1):.{decimals}f}"


def published(cell, decimals=3):
    return f"{cell['mean']:.{decimals}f} ± {cell['std']:.{decimals}f}"


def moments(values):
    return np.mean(values), np.var(values, ddof=1) / len(values), len(values) - 1


def of_paper(cell):
    return cell["mean"], cell["std"] ** 2 / 5, 4


def welch(terms):
    """Value, half of its 95% interval and p of a weighted sum: weight and moments of each."""
    value = sum(weight * mean for weight, (mean, _, _) in terms)
    errors = [weight**2 * error for weight, (_, error, _) in terms]
    freedom = sum(errors) ** 2 / sum(
        e**2 / n for e, (_, (_, _, n)) in zip(errors, terms, strict=True)
    )
    error = np.sqrt(sum(errors))
    half = stats.t.ppf(0.975, freedom) * error
    return value, half, 2 * stats.t.sf(abs(value) / error, freedom)


def interval(terms):
    value, half, _ = welch(terms)
    return f"{value:+.3f} [{value - half:+.3f}, {value + half:+.3f}]"


def gap(recorded, pairs, share=1.0):
    """RHN less DMU, the mean over depths."""
    weight = share / len(pairs)
    return [
        (sign * weight, moments(recorded.values(runs)))
        for dmu, rhn in pairs
        for sign, runs in ((1, rhn), (-1, dmu))
    ]


def papers_gap(depths, share=1.0):
    results, weight = paper("polymusic"), share / len(depths)
    return [
        (sign * weight, of_paper(results[model][depth]["test"]))
        for depth in depths
        for sign, model in ((1, "rhn"), (-1, "dmu"))
    ]


def table_3(recorded):
    results = paper("polymusic")
    named = [
        *(("dmu", "paper's", depth, DMU_PAPER) for depth in (1, 2)),
        *(("dmu", "released", depth, DMU_RELEASED) for depth in (1, 2, 5, 10)),
        *(("rhn", "both", depth, RHN) for depth in (1, 2)),
        ("rhn", "both, 4 runs", 5, RHN),
    ]
    for model, reading, depth, runs in named:
        cell = results[model][depth]
        test, train = (
            recorded.values(runs[depth], f"{each}_nll_nats") for each in ("test", "train")
        )
        less = interval([(1, moments(test)), (-1, of_paper(cell["test"]))])
        yield (
            f"| {depth} | {model} | {reading} | {spread(train)} | {published(cell['train'])} | "
            f"{spread(test)} | {published(cell['test'])} | {less} |"
        )


def gaps(recorded):
    settings = {
        ("paper's", (1, 2)): [(DMU_PAPER[d], RHN[d]) for d in (1, 2)],
        ("released", (1, 2)): [(DMU_RELEASED[d], RHN[d]) for d in (1, 2)],
        ("released", (1, 2, 5)): [(DMU_RELEASED[d], RHN[d]) for d in (1, 2, 5)],
        ("found by search, 200 epochs", (1, 2)): [
            (FOUND["dmu", d], FOUND["rhn", d]) for d in (1, 2)
        ],
    }
    for (name, depths), pairs in settings.items():
        own, theirs = gap(recorded, pairs), papers_gap(depths)
        outside = welch([*gap(recorded, pairs), *papers_gap(depths, -1.0)])[2]
        said = f"{'yes' if outside < 0.05 else 'no'}, p = {outside:.3f}"
        yield (
            f"| {name} | {', '.join(map(str, depths))} | {interval(own)} | {welch(own)[2]:.3f} | "
            f"{welch(theirs)[0]:+.3f} | {said} |"
        )


def searched(recorded):
    for (model, depth), runs in FOUND.items():
        file = SPACES / f"best/polymusic/{model}-d{depth}.yaml"
        found = yaml.safe_load(file.read_text(encoding="utf-8"))["provenance"]["objective"]
        test, validation = (recorded.values(runs, f"{each}_nll_nats") for each in ("test", "val"))
        yield (
            f"| {found:.3f} | {spread(validation)} | {spread(test)} | "
            f"{published(paper('polymusic')[model][depth]['test'])} |"
        )


def single_runs(recorded):
    runs = {
        ("natlang", "dmu"): ("natlang-dmu-d1-released-20261123-165352", "perplexity", 1),
        ("natlang", "rhn"): ("natlang-rhn-d1-released-20261123-165352", "perplexity", 1),
        ("spa2eng", "dmu"): ("spa2eng-dmu-d1-released-20261123-171752", "accuracy", 3),
        ("spa2eng", "rhn"): ("spa2eng-rhn-d1-released-20261123-182707", "accuracy", 3),
    }
    for (task, model), (run, metric, digits) in runs.items():
        cell = paper(task)[model][1]
        cells = []
        for split in ("train", "test"):
            own = recorded.values([run], f"{split}_{metric}")[0]
            cells += [f"{own:.{digits}f}", published(cell[split], digits)]
        yield f"| {task}, {metric} | {model} | {' | '.join(cells)} |"


def counts(recorded):
    ids = list(recorded.replicas)
    for task in ("adding", "tempord", "noiseseq"):
        for model in ("dmu", "gru", "lstm", "rnn"):
            cells = []
            for source in ("paper", "released", "best"):
                name = f"{task}-{model}-d2-{source}"
                # A run of a plan has its number before its name; the last one is the newest.
                own = sorted(run for run in ids if re.match(rf"(plan-.*-)?{name}(-|$)", run))
                # Of two searches the later one is shipped; RNN's on TempOrd is the published one.
                shipped = task != "tempord" or model != "rnn" or source != "best"
                cells.append(recorded.below(own[-1]) if own and shipped else "")
            if (task, model) == ("tempord", "rnn"):
                cells[2] = "0 / 0 / 0"
            yield re.sub(" +", " ", f"| {task} | {model} | {' | '.join(cells)} |")


def lstm(recorded):
    runs = {
        "published": "tempord-lstm-d2-paper-released-20261123-042815",
        "first search": "tempord-lstm-d2-best-20261123-124644",
        "second search": "tempord-lstm-d2-best-20261123-171015",
        "new seeds": "train-tempord-lstm-d2-20261129-135510",
    }
    for run in runs.values():
        losses = recorded.values([run], "val_nll_nats")
        yield f"| {np.mean(losses):.3f} | {np.median(losses):.3f} | {recorded.below(run)} |"


def sentences(recorded):
    """Numbers that stand in the text."""
    results = paper("polymusic")
    for depth in (1, 2):
        train = recorded.values(DMU_PAPER[depth], "train_nll_nats")
        value, _, p = welch([(1, moments(train)), (-1, of_paper(results["dmu"][depth]["train"]))])
        yield f"{value:+.3f}"
        yield f"p = {p:.3f}"
    released = {1: "polymusic-dmu-d1-released-20261123-095709",
                2: "polymusic-dmu-d2-released-20261123-114019"}  # fmt: skip
    for depth, run in released.items():
        value, half, _ = welch(
            [
                (1, moments(recorded.values(DMU_PAPER[depth], "train_nll_nats"))),
                (-1, moments(recorded.values([run], "train_nll_nats"))),
            ]
        )
        yield f"by {value:.3f} [{value - half:.3f}, {value + half:.3f}]"
    yield f"at depth 1, {spread(recorded.values([released[1]]))}"
    torchs = recorded.values(["polymusic-dmu-d1-released-20261123-110334"])
    less = interval([(1, moments(torchs)), (-1, of_paper(results["dmu"][1]["test"]))])
    yield f"a test loss of {less} beside"
    yield interval(gap(recorded, [(DMU_RELEASED[5], RHN[5])]))
    yield f"RHN has one run ({recorded.values(RHN[10])[0]:.3f})"
    deep = recorded.values(["polymusic-dmu-d5-paper-20261123-160311"], "val_nll_nats")[0]
    yield f"above a validation loss of {np.floor(deep * 100) / 100:.2f}"
    several, one = (recorded.values([run], "val_nll_nats") for run in DMU_RELEASED[5])
    yield f"at {np.mean(several):.2f} (mean of four) and {one[0]:.2f} (a fifth)"
    worst = max(recorded.values(runs).max() for runs in FOUND.values())
    best = min(results[model][depth]["test"]["best"] for model, depth in FOUND)
    assert worst < best
    yield f"the worst too ({worst:.3f})"
    file = SPACES / "best/tempord/lstm-d2.yaml"
    twelve = yaml.safe_load(file.read_text(encoding="utf-8"))["provenance"]["objective"]
    fresh = recorded.values(["tempord-lstm-d2-best-20261123-171015"], "val_nll_nats")
    yield f"a mean of {twelve:.3f}"
    yield f"{np.mean(fresh) / twelve:.1f} times that"
    new = recorded.values(["train-tempord-lstm-d2-20261129-135510"], "val_nll_nats")
    yield f"{np.mean(new) / twelve:.1f} times: better than published"
    yield f"({max(fresh):.2f} each)"
    passed = [
        sum((recorded.curves[run, seed] < 1e-3).any() for seed in recorded.replicas[run])
        for model in ("dmu-d2-paper", "gru-d2-paper-released")
        for run in recorded.replicas
        if f"tempord-{model}" in run
    ]
    dmu, gru = passed
    p_value = stats.fisher_exact([[n, 51 - n] for n in passed]).pvalue
    yield f"{dmu} of 51 runs pass 1e-3, GRU's {gru} (p = {p_value:.3f}, Fisher)"
    value, half, _ = welch(papers_gap((1, 2)))
    freedom_quantile = half / np.sqrt(
        sum(weight**2 * error for weight, (_, error, _) in papers_gap((1, 2)))
    )
    # The quantile tells the degrees of freedom.
    freedom = next(f for f in np.arange(4, 20, 0.001) if stats.t.ppf(0.975, f) <= freedom_quantile)
    power = stats.nct.sf(freedom_quantile, freedom, value / (half / freedom_quantile))
    yield f"advantage of {value:.3f} would have shown in {power:.0%}"


PARTS = (table_3, gaps, searched, single_runs, counts, lstm, sentences)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_the_numbers_are_those_of_the_files(part, recorded, text):
    lines = " ".join(re.sub(" +", " ", text).split())
    missing = [line for line in part(recorded) if " ".join(line.split()) not in lines]
    assert not missing


@pytest.mark.slow
def test_no_other_number_is_quoted(recorded, text):
    """Every number with a decimal point is one of those recomputed."""
    known = {number for part in PARTS for line in part(recorded)
             for number in re.findall(r"\d+\.\d+", line)}  # fmt: skip
    quoted = set(re.findall(r"\d+\.\d+", re.sub(r"`[^`]*`", "", text)))
    assert quoted - known == set()


def test_the_findings_are_short(text):
    assert len(text.splitlines()) <= 150
