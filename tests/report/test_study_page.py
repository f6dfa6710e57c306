"""A study's own page, drawn by a real Chromium without a server or a network."""

import pytest

from dmu_search.report.page_process import NOTE_FILE, PAGE_FILE, PLOTS
from dmu_search.report.study_page import SINGLE, write_study_page
from dmu_search.study.files import create_studies
from dmu_search.study.journal import Journal
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.trials import Report
from tests.browser import browser_page
from tests.studies import plan_studies

TRIALS = 30
# Curves that look alike are one path with gaps; those of one point are dots.
CURVES = """
[...document.querySelectorAll("#learning_curves .scatterlayer path.js-line")]
  .reduce((count, path) => count + path.getAttribute("d").split("M").length - 1, 0)
  + document.querySelectorAll("#learning_curves .scatterlayer path.point").length
"""


@pytest.fixture
def study(tmp_path):
    """A study with invented results, some of whose trials were stopped early."""
    words = ["task=adding", "training.max_epochs=9", f"search.trials={TRIALS}"]
    words += [f"output_dir={tmp_path}", "search.sampler=random", "search.scheduler=asha"]
    (own,) = create_studies(plan_studies(words))
    journal = Journal(own.journal)
    search = SearchStudy.of(own.settings, events=own.events(), append=journal.append)
    while (assignment := search.next()) is not None:
        rate = float(assignment.values["training.learning_rate"])
        for epoch in range(1, 10):
            value = abs(rate - 0.03) + 1.0 / epoch
            metrics = {"val_mse": value, "epoch_wall_time_s": 1.0}
            report = Report(
                epoch, value, metrics, epoch == 9, {"test_mse": value} if epoch == 9 else None
            )
            if not search.report(assignment.number, report):
                break
    journal.close()
    return own


@pytest.mark.slow
def test_as_many_curves_are_drawn_as_there_are_trials(study):
    write_study_page(study, final=True)
    pictures = {path.stem for path in (study.folder / PLOTS).glob("*.png")}
    assert pictures == {path.stem for path in (study.folder / SINGLE).glob("*.html")}
    assert "won: val_mse" in (study.folder / NOTE_FILE).read_text(encoding="utf-8")
    alone = study.folder / SINGLE / "learning_curves.html"
    beside = alone.with_name("plotly.js")
    for path, needs in ((study.folder / PAGE_FILE, []), (alone, [beside])):
        with browser_page(offline=True) as page:
            asked = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(path.as_uri())
            page.wait_for_selector("#learning_curves .scatterlayer .trace")
            assert page.evaluate(CURVES) == TRIALS
            assert asked == [each.as_uri() for each in (path, *needs)]
