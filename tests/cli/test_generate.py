"""The command ``generate`` after real trainings of a second."""

import io
import shutil

import pytest

from dmu_search.cli.main import main
from dmu_search.data.midi import read_midi, write_midi
from dmu_search.generation.music import notes_of
from tests.generation.networks import a_roll

FILE = "task: {task}\nmodel: gru\ndepth: 1\nnetwork: {{widths: [5]}}\n{rest}"
TRAINING = "training: {learning_rate: 0.01, batch_size: 4, max_epochs: 1}\n"


def trained(folder, task, *, data="", words=()):
    """A file and the words that name where its training went."""
    file = folder / "mine.yaml"
    file.write_text(FILE.format(task=task, rest=TRAINING + data))
    places = [f"config={file}", f"output_dir={folder / 'runs'}", *words]
    also = ["training.replicas=2", "tracking.uri=none"]
    assert main(["train", *places, *also]) == 0
    return places


@pytest.fixture(scope="module")
def musical(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    data = "data: {corpus: demo, limit: 3}\n"
    places = trained(folder, "polymusic", data=data, words=[f"data.root={folder / 'cache'}"])
    return folder, ["generate", *places, "length=8"]


@pytest.fixture
def music(musical):
    return musical[1]


@pytest.fixture
def run(musical):
    (only,) = (musical[0] / "runs" / "retrained").iterdir()
    return only


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_music_is_a_midi_file_and_a_picture_the_same_for_a_seed(music, tmp_path):
    for name in ("a", "b"):
        assert main([*music, "seed=3", f"generated_dir={tmp_path / name}"]) == 0
    assert main([*music, "seed=4", f"generated_dir={tmp_path / 'c'}"]) == 0
    written = files_in(tmp_path / "a")
    assert sorted(name[-4:] for name in written) == [".mid", ".png"]
    assert written == files_in(tmp_path / "b")
    assert written != files_in(tmp_path / "c")


def test_a_tune_of_ones_own_goes_on_where_it_ends(music, tmp_path):
    roll = a_roll(12)
    roll[0, 40] = roll[-1, 40] = 1  # neither end is silent
    write_midi(tmp_path / "my tune.mid", [notes_of(roll)])
    words = [*music, f"tune={tmp_path / 'my tune.mid'}", f"generated_dir={tmp_path / 'out'}"]
    # Half of the notes sound in a network that has hardly learned.
    assert main([*words, "temperature=3"]) == 0
    whole = read_midi(tmp_path / "out" / "polymusic-gru-d1-my-tune-seed0-t3.mid")
    assert (whole[:12] == roll).all()
    assert len(whole) == 20


def test_text_goes_on_and_unknown_words_are_named(small_files, capsys):
    words = ["generate", *trained(small_files, "natlang", words=[f"data.root={small_files}"])]
    assert "To let it write:\n  " in capsys.readouterr().out
    assert main([*words, "text=the cat flew", "length=5"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("the cat <unk>")
    assert "the network knows no 'flew'; it reads <unk>" in shown.err
    texts = []
    for seed in (1, 1, 2):
        assert main([*words, f"seed={seed}"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_a_line_comes_out_for_each_that_goes_in(small_files, capsys, monkeypatch):
    words = ["generate", *trained(small_files, "por2eng", words=[f"data.root={small_files}"])]
    capsys.readouterr()
    for how in ([], ["beam=3"], ["temperature=1"]):
        lines = "¡El gato duerme!\n\nxyzzy\nel xyzzy come otra vez\n"
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        assert main([*words, *how]) == 0
        shown = capsys.readouterr()
        translated = shown.out.split("\n")
        assert len(translated) == 5
        assert translated[1] == translated[2] == translated[4] == ""
        assert shown.err.count("the network knows no 'xyzzy'") == 2
        assert main([*words, *how, "text=el perro come"]) == 0
        assert capsys.readouterr().out.count("\n") == 1


def test_the_weights_are_found_from_the_trainings_own_file_and_a_copy(music, run, capsys):
    copy = run.parents[1] / "copied.yaml"
    shutil.copy(run / "config.yaml", copy)
    for file in (run / "config.yaml", copy):
        assert main(["generate", f"config={file}", *music[2:]]) == 0
        assert f"weights    {run / 'model'}" in capsys.readouterr().out
    copy.unlink()


def test_without_weights_it_says_what_trains_them(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(FILE.format(task="natlang", rest=TRAINING))
    assert main(["generate", "config=mine.yaml"]) == 2
    assert capsys.readouterr().err == (
        "error: mine.yaml: there are no weights of this setting in runs; train them: "
        "python -m dmu_search train config=mine.yaml\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("adding", [], "a network of adding answers questions and has nothing to write"),
        ("natlang", ["beam=2"], "beam: only spa2eng, por2eng, ger2eng have it, got task=natlang"),
        ("natlang", ["tune=a.mid"], "tune: only polymusic has it, got task=natlang"),
        ("natlang", ["text="], "text: must be a line of text, got ''"),
        ("natlang", ["temperature=-1"], "temperature: must be a number >= 0 and <= 100, got -1"),
        ("natlang", ["length=0"], "length: must be a whole number >= 1"),
        ("spa2eng", ["beam=2", "temperature=1"], "it goes with temperature=0"),
        ("polymusic", ["lenght=3"], "generate has no such key (did you mean length?)"),
    ],
)
def test_bad_input_is_one_sentence(task, words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(FILE.format(task=task, rest=TRAINING))
    assert main(["generate", "config=mine.yaml", *words]) == 2
    shown = capsys.readouterr().err
    assert shown.count("error: ") == 1
    assert message in shown


@pytest.mark.parametrize("word", ["tune=nowhere.mid", "tune={file}", "generated_dir={file}"])
def test_music_that_cannot_be_read_or_kept_leaves_nothing(musical, word, capsys):
    folder, words = musical
    before = sorted(folder.rglob("*"))
    assert main([*words, word.format(file=folder / "mine.yaml")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert sorted(folder.rglob("*")) == before


def test_a_damaged_model_is_a_sentence(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "model" / "weights.pt").write_bytes(b"half")
    assert main(["generate", f"config={tmp_path / 'run' / 'config.yaml'}"]) == 2
    assert "the model is damaged" in capsys.readouterr().err
