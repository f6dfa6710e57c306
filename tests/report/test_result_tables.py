"""Tables 3 to 5 from constructed runs, and what is written of them."""

import csv
import io
import statistics
from dataclasses import replace

import pytest

from dmu_search.config.settings import RunSettings
from dmu_search.names import TASKS
from dmu_search.paper.published import published
from dmu_search.report.comma_separated import comma_separated
from dmu_search.report.document import Column, Evidence, Report, Row, Section, Table, Verdict
from dmu_search.report.files import write_report
from dmu_search.report.latex import latex_document, latex_table
from dmu_search.report.markdown import markdown
from dmu_search.report.result_tables import results_section
from dmu_search.report.samples import results_of
from dmu_search.results.estimate import Estimate
from tests.results.runs import DIVERGED, NOWHERE, paper_run, recorded
from tests.tables import IN_PAPER

SOURCES = ["paper", "released", "best"]
TESTS = (3.52, 3.5, 3.58, 3.54)


def section(*runs, sources=SOURCES):
    return results_section(
        3, [results_of("polymusic", runs, sources=sources, output_dir=NOWHERE)], sources=sources
    )


def lines(table):
    found = list(csv.DictReader(io.StringIO(comma_separated(table))))
    return {
        (line["model"], line["depth"], line.get("results", line.get("setting"))): line
        for line in found
    }


def test_best_mean_and_deviation_beside_the_papers():
    found = lines(section(recorded(paper_run(), TESTS)).tables[0])
    paper = found["dmu", "1", "the paper"]
    columns = ("train, best run", "train", "train, std", "test, best run", "test", "test, std")
    assert [paper[name] for name in columns] == [
        "2.998", "2.966", "0.038", "3.498", "3.528", "0.025"
    ]  # fmt: skip
    ours = found["dmu", "1", "ours, paper's"]
    assert float(ours["test, best run"]) == 3.5
    assert float(ours["train, best run"]) == 2.5
    assert float(ours["test"]) == pytest.approx(3.535)
    assert float(ours["test, std"]) == pytest.approx(statistics.stdev(TESTS))
    assert float(ours["test less paper's"]) == pytest.approx(3.535 - 3.528)
    assert float(ours["test less paper's, low"]) < 0 < float(ours["test less paper's, high"])
    assert ours["runs x epochs"] == "4/5 x 500"
    # The training results are 1 less than the test results, far below the paper's.
    assert ours["the paper's row"] == "contradicted: train"


def test_the_papers_row_is_contradicted_only_after_correction():
    paper = published("polymusic").results["dmu"][1]["test"]
    near = [paper.mean + 0.05 + each for each in (-0.03, -0.01, 0.0, 0.01, 0.03)]

    def said(*others):
        run = recorded(paper_run(), near)
        found = lines(section(run, *others).tables[0])
        return found["dmu", "1", "ours, paper's"]["the paper's row"]

    assert said() == "contradicted: test, train"
    others = [
        recorded(paper_run(**{"network.z_bias": 0.1 * each}), near, run_id=f"z{each}")
        for each in range(9)
    ]
    assert said(*others) == "contradicted: train"
    one = lines(section(recorded(paper_run(), near[:1])).tables[0])
    assert one["dmu", "1", "ours, paper's"]["the paper's row"] == "one run: not tested"


def test_the_strip_has_a_state_for_every_cell():
    strip = section(recorded(paper_run(), TESTS), recorded(paper_run(depth=2), [3.5])).strips[0]
    assert strip.columns[:3] == ("DMU 1", "RHN 1", "DMU 2")
    assert dict(strip.rows)["paper's"][:3] == ("training differs", "none yet", "one run")
    worse = section(recorded(paper_run(), [4.5, 4.6, 4.7])).strips[0]
    assert dict(worse.rows)["paper's"][0] == "worse"


def test_the_mean_over_batches_is_named_where_it_is_recorded():
    run = recorded(paper_run(), TESTS)
    first = run.replicas[0]
    both = replace(first, metrics={**first.metrics, "test_nll_nats_batch_mean": 3.6})
    ours = lines(section(replace(run, replicas=(both, *run.replicas[1:]))).tables[0])
    assert ours["dmu", "1", "ours, paper's"]["test over batches"] == "3.6"
    without = lines(section(run).tables[0])["dmu", "1", "ours, paper's"]
    assert "test over batches" not in without


def test_missing_cells_have_no_row_and_are_named():
    found = section(recorded(paper_run(), TESTS))
    assert {names[2] for names in lines(found.tables[0])} == {"the paper", "ours, paper's"}
    assert found.missing[0] == (
        "runs with paper's settings of polymusic rhn at depth 1,2,5,10: `python -m dmu_search "
        "reproduce source=paper task=polymusic model=rhn depth=1,2,5,10`"
    )
    assert found.missing[-1].endswith(
        "`python -m dmu_search tune task=polymusic model=dmu,rhn depth=1,2,5,10`"
    )


def test_too_few_or_too_short_runs_are_named_with_what_would_complete_them(tmp_path):
    def named(run):
        results = results_of(
            "polymusic", [run], sources=["paper"], output_dir=NOWHERE, records=tmp_path / "my runs"
        )
        return results_section(3, [results], sources=["paper"]).missing[1:]

    line = (
        "more runs or epochs with paper's settings of polymusic dmu at depth 1: `python -m "
        "dmu_search reproduce source=paper "
        f"records='{tmp_path}/my runs' task=polymusic model=dmu depth=1`"
    )
    whole = (*TESTS, 3.55)
    assert named(recorded(paper_run(), TESTS))[-1] == line
    assert named(recorded(paper_run(), whole, epochs=100))[-1] == line
    assert not any("more runs" in each for each in named(recorded(paper_run(), whole)))


def test_diverged_runs_are_named_and_in_no_mean():
    curves = [(5.0, 4.0)] * 3 + [DIVERGED]
    run = recorded(paper_run(), (3.0, 3.1, 3.2, 99.0), curves=curves, epochs=100)
    ours = lines(section(run).tables[0])["dmu", "1", "ours, paper's"]
    assert float(ours["test"]) == pytest.approx(3.1)
    assert ours["runs x epochs"] == "4/5 x 100/500, 1 diverged"


def test_more_runs_than_the_papers_all_count():
    ours = lines(section(recorded(paper_run(), (*TESTS, 3.6, 3.7))).tables[0])[
        "dmu", "1", "ours, paper's"
    ]
    assert ours["runs x epochs"] == "6 x 500"


def test_runs_that_all_diverged_leave_their_cells_empty():
    run = recorded(paper_run(), status="FAILED", curves=[DIVERGED] * 5)
    ours = lines(section(run).tables[0])["dmu", "1", "ours, paper's"]
    assert (ours["test, best run"], ours["test"]) == ("", "")
    assert ours["runs x epochs"] == "5 x 500, 5 diverged"


def test_variants_have_a_table_of_their_own():
    run = recorded(paper_run(**{"network.z_bias": 0.5}), TESTS)
    found = section(run)
    assert [table.name for table in found.tables] == ["table-3", "table-3-variants"]
    ours = lines(found.tables[1])["dmu", "1", "paper's with z_bias=0.5"]
    assert float(ours["test"]) == pytest.approx(3.535)
    assert ours["test less unchanged"] == ""
    assert section(recorded(paper_run(), TESTS)).tables[1:] == ()


def test_a_variant_is_compared_with_our_runs_without_the_change():
    changed = recorded(paper_run(**{"network.z_bias": 0.5}), [value - 0.1 for value in TESTS])

    def against(epochs):
        found = section(changed, recorded(paper_run(), TESTS, epochs=epochs))
        return lines(found.tables[1])["dmu", "1", "paper's with z_bias=0.5"]

    same = against(500)
    assert float(same["test less unchanged"]) == pytest.approx(-0.1)
    assert float(same["test less unchanged, low"]) < -0.1
    assert float(same["test less unchanged, high"]) > -0.1
    assert against(100)["test less unchanged"] == ""


def test_where_more_is_better_the_best_run_is_the_one_with_the_most(monkeypatch):
    monkeypatch.setitem(TASKS, "polymusic", replace(TASKS["polymusic"], direction="maximize"))
    ours = lines(section(recorded(paper_run(), TESTS)).tables[0])["dmu", "1", "ours, paper's"]
    assert float(ours["test, best run"]) == 3.58


def test_every_published_task_has_a_table_or_figure():
    for task in IN_PAPER:
        record = published(task)
        assert (record.table is None) != (record.figure is None)
        assert isinstance(paper_run(task, *record.networks()[0]), RunSettings)


TABLE = Table(
    "table-9",
    "Table 9: 100% of a_b",
    (Column("what"), Column("count"), Column("loss", 2), Column("change", 2, signed=True)),
    (
        Row(("a|b", 3, 1.234, Estimate(0.5, -1.0, 2.0))),
        Row(("c < d", None, None, None)),
    ),
    ("A note on $x$.",),
    grouped_by=1,
)
VERDICT = Verdict(
    "All is well.",
    "paper",
    "paper's settings",
    "holds",
    "1 of 2",
    (Evidence("1 < 2, p = 0.010", "as claimed", ("depth 1: 1",)),),
)
REPORT = Report((Section("table-9", "Table 9", (TABLE,), (), (VERDICT,), "By a rule."),), "Made.")


def test_markdown_in_full():
    assert markdown(REPORT) == (
        "# Results\n\nMade.\n\n"
        "## Does the paper's claim hold?\n\n"
        "| | the paper says | in our runs |\n|---|---|---|\n"
        "| [Table 9](#table-9) | All is well. | paper's settings: **holds** (1 of 2) |\n\n"
        '<a id="table-9"></a>\n\n## Table 9\n\n'
        "**Table 9: 100% of a_b**\n\n"
        "| what | count | loss | change |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| a\\|b | 3 | 1.23 | +0.50 [-1.00, +2.00] |\n"
        "| c \\< d |  |  |  |\n\n"
        "A note on $x$.\n\n"
        "> All is well.\n\n"
        "With the paper's settings: **holds** (1 of 2).\n\n"
        "* 1 \\< 2, p = 0.010: as claimed\n"
        "  * depth 1: 1\n\n"
        "By a rule.\n"
    )


def test_csv_in_full():
    assert comma_separated(TABLE) == (
        'what,count,loss,change,"change, low","change, high"\n'
        "a|b,3,1.234,0.5,-1.0,2.0\n"
        "c < d,,,,,\n"
    )


def test_latex_in_full():
    assert latex_table(TABLE) == (
        "\\begin{table}[p]\n\\centering\\scriptsize\\setlength{\\tabcolsep}{0.08cm}\n"
        "\\renewcommand{\\arraystretch}{1.00}\n"
        "\\caption{The paper's Table 9: 100\\% of a\\_\\allowbreak{}b.}\n"
        "\\label{tab:table-9}\n"
        "\\begin{tabular}{@{}lrrr@{}}\n\\toprule\n"
        "what & count & loss & change \\\\\n\\midrule\n"
        "a|b & 3 & 1.23 & +0.50 [-1.00, +2.00] \\\\\n"
        "\\addlinespace[0.05cm]\n"
        "c \\textless{} d &  &  &  \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
        "\\par\\smallskip\\parbox{\\linewidth}{A note on \\$x\\$.}\n"
        "\\end{table}\n"
    )
    assert "\\usepackage{array,booktabs}" in latex_document([TABLE])
    assert "\\input{table-9.tex}" in latex_document([TABLE])


def test_latex_breaks_long_texts_so_that_a_table_fits_the_page():
    long = " ".join(f"setting_{each}=0.123456" for each in range(20))
    rows = (Row((long, 1.0, "a heading of many words")),)
    columns = (Column("setting"), Column("loss"), Column("many words above few letters"))
    text = latex_table(Table("table-8", "Table 8", columns, rows))
    assert text.startswith("\\begin{table*}")
    assert "\\raggedright\\arraybackslash}p{" in text


def test_files_that_a_report_no_longer_makes_are_removed_by_it(tmp_path):
    kept = tmp_path / "tables/table-8.csv", tmp_path / "runs.csv", tmp_path / "tables/mine.csv"
    stale = tmp_path / "tables/table-9-variants.csv", tmp_path / "figures/table-9-best.svg"
    for path in (*kept, *stale):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    write_report(REPORT, tmp_path)
    assert all(path.exists() for path in (*kept, tmp_path / "tables/table-9.csv"))
    assert not any(path.exists() for path in stale)
