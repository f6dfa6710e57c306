"""Damaged studies and records, through the commands that meet them."""

import json
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import torch
from mlflow import MlflowClient

from dmu_search.cli.main import main
from dmu_search.engine.tasks import TASKS
from dmu_search.folders import claimed
from dmu_search.on_ray.checkpoints import write_checkpoint
from dmu_search.records import RunStart, epochs_of, read_events
from dmu_search.study.files import create_studies, find_studies
from dmu_search.study.journal import Journal, read_journal
from dmu_search.study.mirror import JournalMirror, mirrored_trials
from dmu_search.study.search_study import SearchStudy
from dmu_search.study.trials import Report, StudyState
from dmu_search.tracking import open_tracking
from dmu_search.tracking.trial_runs import TrialRuns
from tests.studies import plan_studies

WORDS = ["task=adding", "search.trials=4", "training.max_epochs=3", "search.scheduler=none"]
WORDS += [
    "search.page=false",
    "data.length=12",
    "data.batches_per_epoch=1",
    "tracking.uri=none",
    "network.widths=[4,4]",
]


def told_of(study):
    """Tell a new study of two finished trials and one that is open, as a search would."""
    journal = Journal(study.journal)
    settings = study.settings
    own = SearchStudy.of(settings, events=study.events(), append=journal.append)
    recorder = open_tracking(settings.tracking, settings.output_dir).recorder
    recorder.start(RunStart(study.name, study.name, "study"))
    runs = TrialRuns(study, recorder)
    own.follow = runs.follow
    for number, epochs in enumerate((3, 3, 2)):
        assert own.next().number == number
        runs.begin(own.trials[number])
        for epoch in range(1, epochs + 1):
            metrics = {"objective": 1 / epoch, "val_mse": 1 / epoch, "epoch_wall_time_s": 0.5}
            summary = {"test_mse": 0.5} if epoch == 3 else None
            own.report(number, Report(epoch, 1 / epoch, metrics, epoch == 3, summary))
            state = {"epoch": epoch, "weights": {"w": torch.ones(3)}}
            own.keep_checkpoint(
                number, write_checkpoint(study.checkpoints, number, epoch=epoch, state=state)
            )
    direction = TASKS[settings.task].direction
    mirror = JournalMirror(
        study.folder / "optuna.journal", study.name, direction=direction, space=settings.space
    )
    mirror.update(own.trials)
    runs.interrupt()
    recorder.end(study.name, "KILLED")
    journal.close()
    return study


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "runs"
    (study,) = create_studies(plan_studies([*WORDS, f"output_dir={folder}"]), "mine")
    told_of(study)
    return folder


@pytest.fixture
def output_dir(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, tmp_path / "runs")
    return tmp_path / "runs"


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def doctor(capsys, *words):
    code = main(["doctor", "study=mine", *words])
    output = capsys.readouterr()
    return code, output.out + output.err


def trials_of(output_dir):
    (study,) = find_studies(output_dir, "mine", given={})
    return StudyState.of(study.events()).trials


def test_a_study_that_is_whole_is_left_alone(output_dir, capsys):
    before = files_of(output_dir)
    code, shown = doctor(capsys)
    assert code == 0
    assert [line.split()[:2] for line in shown.splitlines()] == [
        ["ok", name] for name in ("journal", "settings", "checkpoints", "mirror", "records")
    ]
    assert files_of(output_dir) == before


def journal_of(output_dir):
    return output_dir / "studies" / "mine" / "journal.jsonl"


def garble(path, number, line=b"garbage"):
    lines = path.read_bytes().splitlines()
    lines[number - 1] = line
    path.write_bytes(b"\n".join(lines) + b"\n")


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"\xff\xfe",
        b"[1]",
        b'{"event": "result", "trial": 1, "epoch": 1, "objective": "x", "metrics": {}}',
        b'{"event": "ask", "trial": 0, "values": {}, "source": null}',
        b'{"event": "fail", "trial": 77, "error": "x"}',
        b'{"event": "checkpoint", "trial": 1, "epoch": 1, "file": null}',
    ],
    ids=lambda line: line[:40].decode(errors="replace"),
)
def test_a_journal_is_cut_back_to_its_last_intact_state(output_dir, capsys, line):
    path = journal_of(output_dir)
    garble(path, 12, line)
    original = path.read_bytes()
    assert main(["tune", "resume=mine"]) == 2
    assert "doctor study=" in capsys.readouterr().err

    before = files_of(output_dir)
    code, shown = doctor(capsys, "--dry-run")
    assert code == 0
    assert "would mend journal      line 12 is damaged: cut back to 11 events, 2 trials" in shown
    assert files_of(output_dir) == before

    code, shown = doctor(capsys)
    assert code == 0
    assert "mended journal      line 12 is damaged: cut back to 11 events, 2 trials" in shown
    assert "mended mirror       optuna.journal has 2 trials, the journal 1" in shown
    assert "trial 1: says other than the journal" in shown
    assert "mine.0002.jsonl: is of a trial that the journal does not know" in shown
    assert "tune resume=mine output_dir=runs" in shown
    (copy,) = path.parent.glob("journal.jsonl.damaged-*")
    assert copy.read_bytes() == original
    assert [trial.epoch for trial in trials_of(output_dir).values()] == [3, 1]
    assert len(epochs_of(output_dir / "records" / "mine.0001.jsonl")) == 1
    assert mirrored_trials(path.parent / "optuna.journal", "mine") == 1
    code, shown = doctor(capsys)
    assert code == 0
    assert "mended" not in shown


def test_the_first_line_comes_back_from_the_settings_file(output_dir, capsys):
    path = journal_of(output_dir)
    whole = path.read_bytes()
    garble(path, 1)
    code, shown = doctor(capsys)
    assert code == 0
    assert "mended journal      its first line is damaged: cut back to" in shown
    assert path.read_bytes().splitlines()[1:] == whole.splitlines()[1:]
    old, new = json.loads(whole.splitlines()[0]), read_journal(path)[0]
    assert new["study"] == old["study"]
    assert len(trials_of(output_dir)) == 3


def test_a_first_line_that_is_gone_takes_no_other_with_it(output_dir, capsys):
    path = journal_of(output_dir)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    assert main(["tune", "resume=mine"]) == 2
    assert "its beginning is lost; `python -m dmu_search doctor study=mine`" in (
        capsys.readouterr().err
    )
    assert doctor(capsys)[0] == 0
    assert path.read_bytes().splitlines()[1:] == b"".join(lines[1:]).splitlines()


@pytest.mark.parametrize("content", [None, b"", b"\0\0\0"])
def test_a_journal_that_is_lost_is_said_to_be(output_dir, capsys, content):
    path = journal_of(output_dir)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    before = files_of(output_dir)
    code, shown = doctor(capsys)
    assert code == 1
    assert shown.startswith("lost   journal")
    assert "`report` still reads the runs; put a copy of it back, or start a new study" in shown
    assert main(["tune", "resume=mine"]) == 2
    assert files_of(output_dir) == before


def test_a_journal_without_settings_and_first_line_is_lost(output_dir, capsys):
    garble(journal_of(output_dir), 1)
    (output_dir / "studies/mine/study.yaml").unlink()
    code, shown = doctor(capsys)
    assert (code, shown.count("\n")) == (1, 1)
    assert main(["tune", "resume=mine"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_journal_of_another_version_is_never_cut(output_dir, capsys):
    path = journal_of(output_dir)
    garble(path, 1, path.read_bytes().splitlines()[0].replace(b'"format": 1', b'"format": 2'))
    before = files_of(output_dir)
    code, shown = doctor(capsys)
    assert code == 2
    assert "another version wrote it (format 2, not 1)" in shown
    assert files_of(output_dir) == before


@pytest.mark.parametrize(
    "content", [None, b"", b"name: x\n", b"\xff\xfe", b"a: [", b"task: ${task}\n", b"[" * 9000]
)
def test_a_settings_file_is_written_anew_from_the_journal(output_dir, capsys, content):
    path = output_dir / "studies/mine/study.yaml"
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    code, shown = doctor(capsys)
    assert code == 0
    assert "study.yaml written anew from the journal" in shown
    assert path.read_bytes() == whole
    assert len(list(path.parent.glob("study.yaml.damaged-*"))) == (content is not None)
    began = read_journal(journal_of(output_dir))[0]["time_ms"] / 1000
    assert path.stat().st_mtime == pytest.approx(began)


def test_settings_that_someone_changed_are_told_and_kept(output_dir, capsys):
    path = output_dir / "studies/mine/study.yaml"
    path.write_text(path.read_text().replace("max_epochs: 3", "max_epochs: 5"))
    code, shown = doctor(capsys)
    assert code == 0
    assert "a resume takes settings.training.max_epochs from it, not from the journal" in shown
    assert "max_epochs: 5" in path.read_text()


def test_checkpoints_that_cannot_be_read_are_no_longer_used(output_dir, capsys):
    folder = output_dir / "studies/mine/checkpoints"
    newest = folder / "trial-0002/epoch-000002.pt"
    newest.write_bytes(newest.read_bytes()[:100])
    (folder / "trial-0000/epoch-000003.pt").unlink()
    code, shown = doctor(capsys)
    assert code == 0
    assert "cannot be read: trial-0000/epoch-000003.pt, trial-0002/epoch-000002.pt" in shown
    trials = trials_of(output_dir)
    assert [each.epoch for each in trials[2].checkpoints] == [1]
    assert not newest.exists()
    assert "ok     checkpoints" in doctor(capsys)[1]


def overwrite(path):
    path.write_bytes(b"\xff" * 50 + b"\n{}\n")


def cut(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3])[:-30] + b"\n" + lines[-1])


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [overwrite, cut, replace_by_folder, lambda path: path.unlink()])
def test_a_mirror_is_written_anew(output_dir, capsys, damage):
    path = output_dir / "studies/mine/optuna.journal"
    damage(path)
    code, shown = doctor(capsys)
    assert code == 0
    assert "mended mirror" in shown
    assert mirrored_trials(path, "mine") == 2


@pytest.mark.parametrize("damage", [overwrite, cut, replace_by_folder])
def test_a_mirror_never_blocks_a_study(output_dir, damage):
    (study,) = find_studies(output_dir, "mine", given={})
    path = study.folder / "optuna.journal"
    damage(path)
    space = study.settings.space
    mirror = JournalMirror(path, "mine", direction="minimize", space=space)
    mirror.update(trials_of(output_dir))
    assert mirror.problem is None
    assert mirrored_trials(path, "mine") == 2


def test_a_mirror_that_cannot_be_written_says_so_and_goes_on(output_dir):
    (study,) = find_studies(output_dir, "mine", given={})
    path = study.folder / "file" / "optuna.journal"
    path.parent.touch()
    mirror = JournalMirror(path, "mine", direction="minimize", space=study.settings.space)
    mirror.update(trials_of(output_dir))
    assert "optuna.journal cannot be kept up to date" in mirror.problem


def test_records_are_brought_up_to_the_journal(output_dir, capsys):
    records = output_dir / "records"
    first, second, third = (records / f"mine.000{number}.jsonl" for number in range(3))
    whole = epochs_of(first)
    garble(first, 2, b"\xff")
    second.unlink()
    lines = third.read_bytes().splitlines(keepends=True)
    third.write_bytes(b"".join(lines[:2]))
    assert main(["tune", "resume=mine"]) == 2
    assert "doctor study=mine` writes it anew from the study's journal" in capsys.readouterr().err
    code, shown = doctor(capsys)
    assert code == 0
    assert "mine.0000.jsonl: line 2 is damaged: written anew from the journal" in shown
    assert "trial 1: is missing: written anew from the journal" in shown
    assert "trial 2: is behind the journal: brought up to it" in shown
    assert epochs_of(first) == epochs_of(second) == whole
    assert list(epochs_of(third)) == [1, 2]
    ends = [[e for e in read_events(each) if e["event"] == "end"][-1] for each in (first, third)]
    assert [end["status"] for end in ends] == ["FINISHED", "KILLED"]
    assert "ok     records" in doctor(capsys)[1]


def test_the_record_of_the_study_itself_is_set_aside(output_dir, capsys):
    garble(output_dir / "records/mine.jsonl", 1)
    assert main(["tune", "resume=mine"]) == 2
    assert "mine.jsonl: line 1 is damaged" in capsys.readouterr().err
    assert doctor(capsys)[0] == 0
    assert not (output_dir / "records/mine.jsonl").exists()


def test_a_study_at_work_is_left_alone(output_dir, capsys):
    garble(journal_of(output_dir), 10)
    with claimed(output_dir / "studies/mine"):
        code, shown = doctor(capsys)
    assert code == 2
    assert "is in use by process" in shown
    assert not list((output_dir / "studies/mine").glob("*.damaged-*"))


def test_a_study_that_does_not_exist_is_not_made(output_dir, capsys):
    assert main(["doctor", "study=mien"]) == 2
    assert "no such study under runs/studies (did you mean mine?)" in capsys.readouterr().err
    assert [path.name for path in (output_dir / "studies").iterdir()] == ["mine"]


def test_doctor_lists_what_is_damaged(output_dir, capsys):
    garble(journal_of(output_dir), 10)
    garble(output_dir / "records/mine.0001.jsonl", 2)
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "bad  study        mine: " in shown
    assert "doctor study=mine output_dir=runs" in shown
    assert "mine.0001.jsonl: line 2 is damaged" in shown


def test_report_uses_what_is_intact(output_dir, capsys):
    (output_dir / "records/train-x.jsonl").write_bytes(b"\xff\xfe\n")
    assert main(["report", "table=1"]) == 1
    shown = capsys.readouterr().out
    assert "left out: runs/records/train-x.jsonl: line 1 is damaged; restore the file" in shown
    assert "Table 1: networks" in shown
    assert (output_dir / "report/README.md").exists()


def test_report_checks_what_it_would_add_to_first(output_dir, tmp_path, capsys):
    (tmp_path / "compact").mkdir()
    (tmp_path / "compact/runs.csv").write_text("nonsense\n")
    assert main(["report", "table=1", "compact=compact"]) == 2
    assert "compact/runs.csv: cannot be read (no column" in capsys.readouterr().err
    assert not (output_dir / "report").exists()


def test_sync_checks_all_records_before_it_writes(output_dir, tmp_path, capsys):
    garble(output_dir / "records/mine.0000.jsonl", 2)
    garble(output_dir / "records/mine.0001.jsonl", 3)
    assert main(["sync", "runs/records", "output_dir=other"]) == 2
    shown = capsys.readouterr().err
    assert "mine.0000.jsonl: line 2 is damaged" in shown
    assert "mine.0001.jsonl: line 3 is damaged" in shown
    assert not (tmp_path / "other").exists()


def test_train_goes_on_beside_a_damaged_record(output_dir, tmp_path, capsys):
    (output_dir / "records/train-x.jsonl").write_bytes(b"\xff\xfe\n")
    (tmp_path / "mine.yaml").write_text(
        "task: adding\nmodel: gru\ndepth: 1\nnetwork: {widths: [3]}\n"
        "training: {learning_rate: 0.01, replicas: 1, max_epochs: 1}\n"
        "data: {length: 12, batches_per_epoch: 1}\n"
    )
    assert main(["train", "config=mine.yaml", "tracking.uri=none"]) == 0
    assert "left out: runs/records/train-x.jsonl: line 1 is damaged" in capsys.readouterr().out


def ruin(output_dir):
    path = journal_of(output_dir)
    garble(path, len(path.read_bytes().splitlines()) // 2)
    (path.parent / "study.yaml").write_text("x")
    overwrite(path.parent / "optuna.journal")
    for checkpoint in path.parent.glob("checkpoints/*/*.pt"):
        checkpoint.write_bytes(b"x")


def points_in_mlflow(output_dir):
    """Run, metric and step of every point; what is best so far is said twice of the last epoch."""
    client = MlflowClient(f"sqlite:///{output_dir / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dmu_search-adding")
    return Counter(
        (run.data.tags["dmu_search.run_id"], name, point.step)
        for run in client.search_runs([experiment.experiment_id])
        for name in run.data.metrics
        if not name.startswith("best_")
        for point in client.get_metric_history(run.info.run_id, name)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "mends"),
    [
        (ruin, True),
        (lambda output_dir: garble(output_dir / "records/mine.0001.jsonl", 2), True),
        (lambda output_dir: (output_dir / "records/mine.0001.jsonl").unlink(), False),
        (lambda output_dir: (output_dir / "records/mine.jsonl").unlink(), False),
    ],
    ids=["all but records", "record", "record gone", "record of the study gone"],
)
def test_a_damaged_study_is_resumed_to_its_end(tmp_path, capsys, monkeypatch, damage, mends):
    monkeypatch.chdir(tmp_path)
    words = [*WORDS, "search.checkpoint_every_s=0", "resources.cpus=1"]
    words.remove("tracking.uri=none")
    # A Ray of its own: another test may have one in this process.
    tune = [sys.executable, "-m", "dmu_search", "tune"]
    subprocess.run([*tune, *words, "name=mine"], check=True)
    output_dir = tmp_path / "runs"
    points = points_in_mlflow(output_dir)
    assert set(points.values()) == {1}
    damage(output_dir)
    capsys.readouterr()
    if mends:
        assert doctor(capsys)[0] == 0
    subprocess.run([*tune, "resume=mine"], check=True)
    trials = trials_of(output_dir)
    assert [trial.status for trial in trials.values()] == ["finished"] * 4
    for number, trial in trials.items():
        record = output_dir / "records" / f"mine.{number:04d}.jsonl"
        assert list(epochs_of(record)) == [1, 2, 3]
        assert epochs_of(record)[3]["objective"] == trial.objective
    assert points_in_mlflow(output_dir) == points
    assert doctor(capsys)[0] == 0
