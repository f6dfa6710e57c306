"""A corpus of the user's own, at the command line."""

import pytest

from dmu_search.cli.main import main
from dmu_search.config.settings import PLACES
from dmu_search.data.corpus import load_piano_rolls
from dmu_search.data.files import DataStore
from dmu_search.data.midi import Note, write_midi
from dmu_search.records import Recorder, RunStart
from dmu_search.retraining.exported import write_run_file
from dmu_search.retraining.provenance import provenance
from dmu_search.study.files import create_studies
from tests.studies import plan_studies


@pytest.fixture
def tunes(tmp_path, monkeypatch):
    """A folder beside the working directory's, with five broken files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tunes").mkdir()
    for number in range(6):
        write_midi(tmp_path / "tunes" / f"{number}.mid", [[Note(60 + number, 0, 8)]])
    for letter in "abcde":
        (tmp_path / "tunes" / f"{letter}.mid").write_text(letter)
    return tmp_path / "tunes"


@pytest.fixture
def place(tmp_path):
    return [f"output_dir={tmp_path / 'runs'}", f"data.root={tmp_path / 'cache'}"]


def test_data_shows_what_is_in_it_and_every_skipped_file(tunes, place, capsys):
    assert main(["data", "data.corpus=tunes", "data.step=1/16", place[1]]) == 0
    shown = capsys.readouterr().out
    assert f"from       {tunes}" in shown
    assert "steps of 1/16, in their own keys, 5 files skipped" in shown
    assert "all        6     96         16.0            1.00" in shown
    for letter in "abcde":
        assert f"skipped    {letter}.mid: cannot be read as a MIDI file" in shown


def test_a_plan_names_the_first_skipped_files(tunes, place, capsys):
    assert main(["tune", "--dry-run", "data.corpus=tunes", "data.transpose=true", *place]) == 0
    shown = capsys.readouterr().out.replace("\n", "")
    assert f"warning: {tunes}: 5 of 11 MIDI files skipped: a.mid" in shown
    assert "c.mid (cannot be read as a MIDI file (it ends too early)) and 2 more" in shown
    assert "tunes (folder): 4 / 1 / 1 sequences" in shown
    assert "in C major and A minor, 5 files skipped" in shown


def test_doctor_reads_it(tunes, place, capsys):
    main(["doctor", "data.corpus=tunes", *place])
    assert "ok   corpus       tunes (folder): 4 / 1 / 1 sequences" in capsys.readouterr().out
    main(["doctor", "data.corpus=elsewhere/", *place])
    assert "bad  corpus       cannot be used" in capsys.readouterr().out


def test_an_exported_setting_finds_it_from_anywhere_and_says_when_it_has_changed(
    tunes, place, capsys, monkeypatch
):
    (study,) = plan_studies(["data.corpus=tunes", "data.step=1/4", *place])
    data = load_piano_rolls(str(tunes), DataStore(root=tunes.parent / "cache"))
    file = tunes.parent / "best.yaml"
    write_run_file(file, study.example(), provenance=provenance(study="s", data=data, metrics={}))
    elsewhere = tunes.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    words = ["train", "--dry-run", f"config={file}", place[1]]
    assert main([*words, "data.step=1/8"]) == 0
    assert "has changed" not in capsys.readouterr().out
    # The provenance is of eighths.
    assert main(words) == 0
    assert (
        "tunes (folder): the data has changed since this setting was found"
        in capsys.readouterr().out
    )


def test_a_study_does_not_go_on_with_other_data(tunes, place, tmp_path, capsys):
    words = [word for word in place if word.split("=")[0] not in PLACES]
    (study,) = create_studies(plan_studies(["data.corpus=tunes", *words]))
    data = load_piano_rolls(str(tunes), DataStore(root=tmp_path / "cache"))
    recorder = Recorder(tmp_path / "runs" / "records")
    start = RunStart(study.name, study.name, "study", tags={"data.sha256": data.sha256})
    recorder.start(start)
    assert main(["tune", "--dry-run", "resume=latest", *place]) == 0
    (tunes / "0.mid").unlink()
    assert main(["tune", "resume=latest", *place]) == 2
    assert f"{study.name}: its data has changed since it began" in capsys.readouterr().err
