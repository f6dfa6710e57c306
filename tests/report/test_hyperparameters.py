"""Tables 6 and 7: published settings beside the best found."""

import csv
import io

from dmu_search.report.comma_separated import comma_separated
from dmu_search.report.hyperparameters import settings_section
from dmu_search.retraining.exported import write_run_file
from tests.results.runs import paper_run

SOURCES = ["paper", "released", "best"]
PROVENANCE = {"study": "a-study", "trial": 7, "mlflow_run": "0a1b2c"}


def lines(section):
    found = csv.DictReader(io.StringIO(comma_separated(section.tables[0])))
    return {(line["task"], line["model"], line["depth"], line["settings"]): line for line in found}


def test_what_the_papers_table_leaves_out_is_in_parentheses(tmp_path):
    found = lines(settings_section(7, ["polymusic"], sources=SOURCES, output_dir=tmp_path))
    paper = found["polymusic", "dmu", "10", "paper's"]
    assert [paper[name] for name in ("learning rate", "weight decay", "gamma", "max epochs")] == [
        "0.002",
        "0.0001",
        "1.0",
        "500",
    ]
    assert [paper[name] for name in ("z bias", "batch size", "block rule")] == [
        "(3)",
        "(32)",
        "(paper)",
    ]
    released = found["polymusic", "dmu", "10", "released"]
    assert (released["learning rate"], released["z bias"]) == ("0.005", "0.0")


def test_equal_settings_are_one_row_and_constant_ones_are_said_once(tmp_path):
    section = settings_section(
        6, ["adding", "tempord", "noiseseq"], sources=SOURCES, output_dir=tmp_path
    )
    found = lines(section)
    assert found["noiseseq", "gru", "2", "paper's = released"]["learning rate"] == "0.1"
    assert found["tempord", "rhn", "3", "released"]["learning rate"] == "0.02"
    same = section.tables[0].notes[1]
    for each in ("max epochs 100", "batch size 32", "batches per epoch (paper: sequences) 200"):
        assert each in same
    hidden = {column.heading for column in section.tables[0].columns if not column.compact}
    assert {"max epochs", "batch size", "widths"} <= hidden


def test_a_found_setting_names_its_file_study_and_mlflow_run(tmp_path):
    run = paper_run(
        "adding", "dmu", 2, **{"training.learning_rate": 0.0123, "training.max_epochs": 30}
    )
    write_run_file(tmp_path / "best/adding/dmu-d2.yaml", run, provenance=PROVENANCE)
    section = settings_section(6, ["adding"], sources=SOURCES, output_dir=tmp_path)
    best = lines(section)["adding", "dmu", "2", "best found"]
    assert (best["learning rate"], best["max epochs"]) == ("0.0123", "30")
    assert best["found by"] == "adding/dmu-d2.yaml; study a-study, trial 7; MLflow run 0a1b2c"
    assert section.missing[0].startswith("best settings of adding lstm, gru, rnn at depth 2")


def test_what_has_no_effect_is_not_shown(tmp_path):
    clipped = {"training.gradient_clipping": "norm", "training.gradient_clip_norm": 0.5}
    run = paper_run("adding", "dmu", 2, **clipped)
    write_run_file(tmp_path / "best/adding/dmu-d2.yaml", run, provenance=PROVENANCE)
    found = lines(settings_section(6, ["adding"], sources=SOURCES, output_dir=tmp_path))
    paper, best = (found["adding", "dmu", "2", name] for name in ("paper's", "best found"))
    assert (paper["gradient clipping"], paper["gradient clip norm"]) == ("(off)", "")
    assert (best["gradient clipping"], best["gradient clip norm"]) == ("norm", "0.5")


def test_without_a_source_there_is_nothing_to_show(tmp_path):
    section = settings_section(6, ["adding"], sources=["best"], output_dir=tmp_path)
    assert section.tables[0].rows == ()
    assert len(section.missing) == 2
