"""The command ``report`` and the files it writes; slow tests train what they report."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from dmu_search.cli.main import main
from dmu_search.data.loading import load_data
from dmu_search.records import Recorder
from dmu_search.report.build import FIGURES, TABLES, build_report
from dmu_search.results.compact import add_to_compact, read_compact
from dmu_search.results.trainings import read_runs
from dmu_search.retraining.run import plan_run, retrain
from tests.results.runs import paper_run, recorded
from tests.tables import IN_PAPER

SMALL = {"training.max_epochs": 4, "training.replicas": 3, "training.batch_size": 32}
SOURCES = ["paper", "released", "best"]
NETWORKS = (("dmu", 2, "paper"), ("gru", 2, "paper"), ("rhn", 3, "released"))


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory):
    """Recorded trainings of Figure 2's networks, over few epochs, and a variant."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [paper_run("adding", *each, **SMALL) for each in NETWORKS]
    runs.append(paper_run("adding", "dmu", 2, **SMALL, **{"data.length": 20}))
    for number, run in enumerate(runs):
        data = load_data(run.task, run.data)
        retrain(
            plan_run(f"run-{number}", run, data=data, tags={}),
            run,
            data=data,
            folder=folder / "retrained" / str(number),
            recorder=Recorder(folder / "records"),
            on_epoch=lambda _: None,
        )
    return folder


def test_tables_without_runs_are_shown_and_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "table=1,2,6,7"]) == 0
    shown = capsys.readouterr().out
    for title in ("Table 1: networks", "Table 2: networks", "Table 6: settings", "Table 7: set"):
        assert title in shown
    assert "12 of 12 counts agree with the paper as printed" in shown
    assert "python -m dmu_search tune task=polymusic model=dmu,rhn depth=1,2,5,10" in shown
    folder = tmp_path / "runs/report"
    assert {path.name for path in folder.iterdir()} == {"README.md", "report.html", "tables"}
    tables = {f"table-{number}.{form}" for number in (1, 2, 6, 7) for form in ("csv", "tex")}
    assert {path.name for path in (folder / "tables").iterdir()} == tables | {"all.tex"}
    assert "46688" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def compact(tmp_path):
    """Runs as if recorded: of Figure 2's networks, and a variant."""
    curves = [(1.0, 5e-3, 5e-5), (1.0, 5e-3, 5e-3), (1.0, 1.0, 1.0)]
    given = {"run_id": "z", "curves": curves, "epochs": 3}
    runs = [
        recorded(paper_run("adding", *each), **{**given, "run_id": each[0]}) for each in NETWORKS
    ]
    runs.append(recorded(paper_run("adding", "dmu", 2, **{"data.length": 20}), **given))
    add_to_compact(runs, tmp_path / "compact")
    return tmp_path / "compact"


def test_a_dry_run_writes_nothing(compact, tmp_path, capsys):
    words = ["report", f"records={compact}", f"report_dir={tmp_path}/made", "figure=2"]
    assert main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "4 trainings, 4 of them ended" in shown
    assert "would make Figure 2" in shown
    assert list(tmp_path.iterdir()) == [compact]


def test_the_runs_of_a_cell_are_listed_and_nothing_is_written(compact, tmp_path, capsys):
    words = ["report", f"records={compact}", f"output_dir={tmp_path}/runs"]
    assert main([*words, "cell=figure-2/gru"]) == 0
    shown = capsys.readouterr().out
    assert "gru: FINISHED, seeds 0 to 2 (3 fused as one program), 3 of 3 epochs" in shown
    assert "not recorded: commit, engine, processor, torch, threads" in shown
    assert re.search(r"^ +1 +1 +2 +never +never +never +never$", shown, re.MULTILINE)
    assert list(tmp_path.iterdir()) == [compact]
    assert main([*words, "cell=figure-2/gruu"]) == 2
    assert "there is no figure-2/gruu (did you mean figure-2/gru" in capsys.readouterr().err
    assert main([*words, "cell=figure-2/gru", "table=3"]) == 2
    assert "cell: lists the runs of one cell; leave out table" in capsys.readouterr().err


def test_what_is_typed_next_counts_the_runs_that_were_read(compact, tmp_path, capsys):
    words = ["report", "table=3", "source=paper", f"report_dir={tmp_path}/made"]
    for given, named in (([f"records={compact}"], f" records={compact}"), ([], "")):
        assert main([*words, *given, f"output_dir={tmp_path}/runs"]) == 0
        shown = capsys.readouterr().out
        assert f"reproduce source=paper{named} task=polymusic model=dmu,rhn" in shown


def test_figures_and_variants_come_from_the_compact_form(compact, tmp_path):
    report = build_report(
        read_compact(compact), tables=(), figures=FIGURES, sources=SOURCES, output_dir=tmp_path
    )
    figure = report.sections[0]
    assert [section.name for section in report.sections] == ["figure-2", "figure-3", "figure-4"]
    assert [series.model for series in figure.charts[0].series] == ["dmu", "gru", "rhn"]
    assert [table.name for table in figure.tables] == ["figure-2", "figure-2-variants"]
    assert figure.tables[1].rows[0].cells[:2] == ("dmu", "paper's with length=20")


class Page(HTMLParser):
    """Collects what a page refers to and what it is made of."""

    def __init__(self):
        super().__init__()
        self.addresses, self.ids, self.tags, self.images = [], [], [], []

    def handle_starttag(self, tag, attrs):
        own = dict(attrs)
        self.tags.append(tag)
        self.addresses += [own[name] for name in ("src", "href", "srcset") if name in own]
        self.ids += [own["id"]] if "id" in own else []
        if tag == "img":
            self.images.append(own)


@pytest.mark.slow
def test_records_and_their_compact_form_make_the_same_report(output_dir, tmp_path):
    runs = read_runs(output_dir / "records")
    add_to_compact(runs, tmp_path)
    made = [
        build_report(each, tables=TABLES, figures=FIGURES, sources=SOURCES, output_dir=tmp_path)
        for each in (runs, read_compact(tmp_path))
    ]
    assert made[0] == made[1]


@pytest.mark.slow
def test_the_whole_report_is_complete_and_the_same_every_time(output_dir, tmp_path, capsys):
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        words = [f"output_dir={output_dir}", f"report_dir={folder}", f"compact={tmp_path}/runs"]
        assert main(["report", *words]) == 0
    assert f"{tmp_path}/runs has 4 trainings now" in capsys.readouterr().out
    files = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*.*")} for f in folders]
    assert files[0] == files[1]
    names = {str(path) for path in files[0]}
    assert {f"figures/figure-2.{form}" for form in ("svg", "png", "pdf")} <= names
    assert "figures/figure-3.svg" not in names
    figure = (folders[0] / "figures/figure-2.svg").read_text(encoding="utf-8")
    assert figure.count("runs, of 51") == 5
    for label in ("DMU", "GRU", "RHN (released)", "epoch"):
        assert label in figure

    page = Page()
    page.feed((folders[0] / "report.html").read_text(encoding="utf-8"))
    assert not [each for each in page.addresses if not each.startswith(("#", "data:image/svg"))]
    assert {each[1:] for each in page.addresses if each.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("caption") == page.tags.count("table") > 8
    assert all(image["alt"] for image in page.images)

    text = (folders[0] / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"!\[.*?\]\((.*?)\)", text)) == {"figures/figure-2.svg"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_the_tables_compile(output_dir, tmp_path):
    assert main(["report", f"output_dir={output_dir}", f"report_dir={tmp_path}"]) == 0
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    ended = subprocess.run(command, cwd=tmp_path / "tables", capture_output=True, timeout=300)
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert (tmp_path / "tables/all.pdf").exists()


def test_every_task_of_the_paper_is_shown_somewhere(tmp_path):
    report = build_report(
        (), tables=TABLES, figures=FIGURES, sources=["paper"], output_dir=tmp_path
    )
    for task in IN_PAPER:
        sections = [
            section
            for section in report.sections
            if any(task in row.cells for row in section.tables[0].rows)
            or any(strip.title.endswith(f", {task}") for strip in section.strips)
        ]
        assert len(sections) == 3, task
