"""The command ``studies``, over folders of studies whose journals are written here."""

import shutil

import pytest

from dmu_search.cli.main import main
from dmu_search.folders import OutputFolder, claimed
from dmu_search.records import Recorder, RunStart
from dmu_search.study.files import Study, create_studies
from dmu_search.study.journal import Journal
from dmu_search.tracking import sync_records
from dmu_search.tracking.mlflow_runs import connect
from tests.studies import plan_studies

WORDS = ("training.max_epochs=3", "search.warm_start=none")


@pytest.fixture
def begin(tmp_path):
    """Makes a study whose trials have these objectives; its finalists these, if any."""

    def make(name, *objectives, task="adding", model="gru", finalists=(), trials=2) -> Study:
        words = (f"task={task}", f"model={model}", *WORDS, f"search.trials={trials}")
        (study,) = create_studies(plan_studies([*words, f"output_dir={tmp_path}"]), name)
        events = []
        for number, objective in enumerate(objectives):
            values = {"training.learning_rate": 0.01 * (number + 1)}
            asked = {"event": "ask", "trial": number, "values": values, "source": None}
            result = {"trial": number, "epoch": 3, "objective": objective, "decision": "finished"}
            events += [asked, {"event": "result", "metrics": {}, **result}]
        if finalists:
            chosen = {"event": "finalists", "trials": [0], "first_seed": 1, "seeds": 2}
            ended = {"event": "finalist", "trial": 0, "values": list(finalists)}
            events += [chosen, ended, {"event": "winner", "trial": 0}]
        journal = Journal(study.journal)
        for event in events:
            journal.append(event)
        journal.close()
        return study

    return make


def run(capsys, tmp_path, *words):
    code = main(["studies", *words, f"output_dir={tmp_path}"])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_list_says_how_each_stands(begin, tmp_path, capsys):
    begin("half", 0.5)
    begin("sure", 0.4, 0.5, finalists=(0.41, 0.43))
    begin("at-work", 0.3)
    with claimed(OutputFolder(tmp_path).studies / "at-work"):
        code, out, _ = run(capsys, tmp_path)
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0
    assert "1 of 2  0.5000?  1 trials to go" in lines["half"]
    assert "2 of 2   0.4200  ended" in lines["sure"]
    assert "1 of 2  0.3000?  running" in lines["at-work"]
    assert "?" in lines, "the mark is explained"


def test_one_that_cannot_be_read_hides_no_other(begin, tmp_path, capsys):
    begin("whole", 0.5, 0.6)
    damaged = begin("damaged", 0.5, 0.6)
    damaged.journal.write_text("nothing\n" + damaged.journal.read_text())
    code, out, _ = run(capsys, tmp_path)
    assert code == 0
    assert "whole" in out
    assert "left out:" in out
    assert "damaged" in out


def test_one_study_is_shown_with_its_trials_and_how_to_go_on(begin, tmp_path, capsys):
    begin("half", 0.5)
    code, out, _ = run(capsys, tmp_path, "show", "latest")
    assert code == 0
    assert "learning_rate=0.01" in out
    assert f"tune resume=half output_dir={tmp_path}" in out


def test_confirmed_studies_come_first(begin, tmp_path, capsys):
    begin("lucky", 0.1, 0.2, model="lstm")
    begin("sure", 0.4, 0.5, finalists=(0.41, 0.43))
    code, out, _ = run(capsys, tmp_path, "compare", "lucky", "sure")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert [row[-1] for row in rows if row and row[0] in ("gru", "lstm")] == ["sure", "lucky"]
    assert "unconfirmed" in out
    assert "0.4200 ± 0.0141" in out


def test_results_on_different_data_are_not_compared(begin, tmp_path, capsys):
    begin("one", 0.5)
    begin("other", 0.5, task="tempord")
    code, _, err = run(capsys, tmp_path, "compare", "one", "other")
    assert code == 2
    assert "do not compare" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shw",), "did you mean show?"),
        (("show",), "takes names of studies"),
        (("show", "hal"), "did you mean half?"),
        (("delete",), "takes the name of a study"),
        (("delete", "half"), "add yes=true"),
    ],
)
def test_bad_input_is_a_sentence_and_changes_nothing(begin, tmp_path, capsys, words, said):
    study = begin("half", 0.5)
    before = study.journal.read_bytes()
    code, _, err = run(capsys, tmp_path, *words)
    assert code == 2
    assert said in err
    assert study.journal.read_bytes() == before


def test_deleting_takes_runs_records_and_folder_and_no_other_studys(begin, tmp_path, capsys):
    gone, kept = begin("a", 0.5), begin("a.b", 0.5)
    recorder = Recorder(OutputFolder(tmp_path).records)
    for study in (gone, kept):
        for run_id in (study.name, f"{study.name}.0000"):
            tags = {"study": study.name, "task": "adding"}
            recorder.start(RunStart(run_id, run_id, kind="study", tags=tags))
            recorder.end(run_id, "FINISHED")
    sync_records(OutputFolder(tmp_path).records, gone.settings.tracking, output_dir=tmp_path)
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiments = [each.experiment_id for each in client.search_experiments()]
    for study in (gone, kept):
        client.create_logged_model(experiments[0], name="net", tags={"study": study.name})
    assert run(capsys, tmp_path, "delete", "a", "--dry-run")[0] == 0
    assert gone.folder.exists()
    code, out, _ = run(capsys, tmp_path, "delete", "a", "yes=true")
    assert code == 0
    assert "deleted a: 2 runs, 2 records, its folder" in out
    assert not gone.folder.exists()
    records = OutputFolder(tmp_path).records
    assert {path.name for path in records.iterdir()} == {"a.b.jsonl", "a.b.0000.jsonl"}
    left = {found.data.tags["study"] for found in client.search_runs(experiments)}
    assert left == {"a.b"}
    models = client.search_logged_models(experiments)
    assert [model.tags["study"] for model in models] == ["a.b"]


def test_a_study_at_work_is_not_deleted(begin, tmp_path, capsys):
    study = begin("a", 0.5)
    Recorder(OutputFolder(tmp_path).records).start(RunStart("a", "a", kind="study"))
    with claimed(study.folder):
        code, _, err = run(capsys, tmp_path, "delete", "a", "yes=true")
    assert code == 2
    assert "is in use by" in err
    assert (OutputFolder(tmp_path).records / "a.jsonl").exists()
    shutil.rmtree(study.folder)
    assert run(capsys, tmp_path)[1].startswith("There are no studies yet")
