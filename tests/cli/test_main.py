import subprocess
import sys

import pytest

import dmu_search
from dmu_search.cli.main import main
from dmu_search.config.keys import keys_of
from dmu_search.data.loading import files_of
from dmu_search.names import TASKS


def test_without_words_the_overview_is_shown(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    for command in ("tune", "train", "reproduce", "report", "data", "sync", "doctor"):
        assert f"  {command} " in shown


@pytest.mark.parametrize(
    "command", ["tune", "train", "generate", "reproduce", "report", "data", "sync", "doctor"]
)
def test_the_help_of_a_command_lists_its_keys(command, capsys):
    assert main([command, "--help-all"]) == 0
    shown = capsys.readouterr().out
    assert f"usage: python -m dmu_search {command}" in shown
    for name in keys_of(command):
        assert f"\n  {name}" in shown


def test_the_help_of_tune_fits_a_screen(capsys):
    assert main(["tune", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 110
    named = [line.split()[0] for line in lines if line.startswith("  ")]
    assert len(named) > 10
    assert set(named) <= set(keys_of("tune"))


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dmu_search {dmu_search.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tun"], "there is no such command (did you mean tune?)"),
        (["tune", "--dryrun"], "there is no such option (did you mean --dry-run?)"),
        (["tune", "task=polymusik"], "got 'polymusik' (did you mean polymusic?)"),
        (["tune", "model=lstn"], "got 'lstn' (did you mean lstm?)"),
        (["tune", "search.sampler=tp"], "(did you mean tpe?)"),
        (["tune", "data.mirror=/nowhere/at/all"], "this mirror folder does not exist"),
        (["tune", "task=adding", "tracking.uri=a/folder"], "use sqlite:///FILE.db"),
        (["tune", "task=adding", "tracking.uri=http://127.0.0.1:9"], "start the server"),
        (["tune", "resume=latest", "output_dir=/nowhere"], "no studies; start one"),
        (["tune", "resume=latest", "model=dmu,rhn"], "as it was started"),
        (["train"], "train needs a file"),
        (["train", "config=/nowhere.yaml"], "/nowhere.yaml: no such file"),
        (["train", "search.trials=3"], "train has no such key"),
        (["report", "table=8"], "table: must be a whole number >= 1 and <= 7, got 8"),
        (["report", "figure=1"], "figure: must be a whole number >= 2 and <= 4, got 1"),
        (["report", "source=papers"], "(did you mean paper?)"),
        (["report", "records=/nowhere"], "there is no folder /nowhere"),
        (["sync"], "sync takes one folder"),
        (["sync", "/nowhere"], "/nowhere: holds neither records"),
        (["data", "data.mirror=/nowhere"], "this mirror folder does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert message in output.err
    assert "Traceback" not in output.err
    assert not (tmp_path / "runs").exists()


def test_doctor_calls_an_altered_file_bad(tmp_path, capsys):
    (tmp_path / "Nottingham.mat").write_bytes(b"altered")
    assert main(["doctor", f"data.root={tmp_path}", f"output_dir={tmp_path / 'runs'}"]) == 1
    assert "bad  data         Nottingham.mat" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "label"), [([], 0, "note"), (["task=natlang"], 1, "error")]
)
def test_without_network_data_names_what_is_missing(
    words, code, label, tmp_path, capsys, monkeypatch
):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("DMU_SEARCH_DATA_MIRROR", raising=False)
    assert main(["data", f"data.root={tmp_path}", *words]) == code
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{label}: {tmp_path}/ptb/ptb.train.txt: missing") for line in lines)


def test_an_output_folder_below_a_file_is_bad_input(tmp_path, capsys):
    (tmp_path / "file").touch()
    words = ["tune", "data.corpus=demo", f"data.root={tmp_path}", f"output_dir={tmp_path}/file/x"]
    assert main(words) == 2
    assert "is a file); free space or choose another folder" in capsys.readouterr().err


def test_an_altered_data_file_is_bad_input(tmp_path, capsys):
    (tmp_path / "Nottingham.mat").write_bytes(b"altered")
    assert main(["tune", f"data.root={tmp_path}", f"output_dir={tmp_path}/runs"]) == 2
    message = capsys.readouterr().err
    for part in ("Nottingham.mat", "sha256", "https://", "data.mirror", "data.corpus=demo"):
        assert part in message
    assert [file.name for file in tmp_path.iterdir()] == ["Nottingham.mat"]


def test_a_dry_run_shows_everything_and_writes_nothing(tmp_path, capsys, demo_store):
    words = ["tune", "--dry-run", "data.corpus=demo", f"data.root={demo_store.root}"]
    words += ["depth=2", "search.trials=7", "training.max_epochs=9"]
    assert main([*words, f"output_dir={tmp_path / 'runs'}"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "widths [122, 122], 66,578 weights",
        "7 trials of at most 9 epochs: 63 epochs",
        "tag(log,interval(0.0005,0.05))",
        "tried first (paper)",
        "tried first (released)",
    ):
        assert part in shown
    assert not (tmp_path / "runs").exists()


def test_help_needs_neither_torch_nor_ray():
    script = (
        "import sys; from dmu_search.cli.main import main; main(['tune', '--help']);"
        "print(sorted({'torch', 'ray', 'mlflow', 'optuna'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == "[]\n"


def test_data_and_doctor_say_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DMU_SEARCH_DATA_MIRROR", raising=False)
    assert main(["data", "--dry-run", f"data.root={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "missing" in shown
    assert all(file.name in shown for task in TASKS for file in files_of(task))
    assert main(["data", "task=natlang", "--dry-run", f"data.root={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    # Whose the files are is said once.
    assert "ptb/ptb.train.txt, ptb/ptb.valid.txt, ptb/ptb.test.txt: Penn Treebank" in shown
    assert "Nottingham.mat" not in shown
    assert main(["doctor", f"data.root={tmp_path}", f"output_dir={tmp_path / 'runs'}"]) == 0
    shown = capsys.readouterr().out
    assert "note data         Nottingham.mat is missing" in shown
    assert "fetched by the first command that needs it" in shown
    assert "note data         ptb/ptb.train.txt is missing" in shown
    assert "ok   output_dir" in shown
    assert "made by the first study" in shown
    assert not (tmp_path / "runs").exists()
