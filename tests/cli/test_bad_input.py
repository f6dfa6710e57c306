"""What is no setting at all: one sentence, at once, and nothing is written."""

import os

import pytest

from dmu_search.cli.main import main


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search.seed=4294967296"], "must be a whole number >= 0 and <= 4294967295, got 4294967"),
        (["training.seed=18446744073709551616"], "<= 2147483647, got 18446744073709551616"),
        (["search.trials=9999999999"], "must be a whole number <= 2147483647, got 9999999999"),
        (["depth=100000"], "depth: must be a whole number >= 1 and <= 100, got 100000"),
        (["network.widths=[100001]"], "whole numbers from 1 to 100000, one per layer"),
        ([f"training.learning_rate={'9' * 400}"], "must be a number > 0, got 999"),
        ([f"training.learning_rate={'[' * 900}"], "is not understood"),
        ([f"training.learning_rate={'[' * 90_000}"], "is longer than 1000 letters, got 90023"),
        (["training.weight_decay=range(0,1,1e-320)"], "the steps of range(0.0,1.0,"),
        (["training.batch_size=range(1,4,1.5)"], "takes whole numbers, got steps of 1.5"),
        (["output_dir="], "output_dir: must be a path, got ''"),
        (["output_dir=s3://bucket/runs"], "there is no remote storage yet; mount it"),
        (["data.root=gs://bucket"], "there is no remote storage yet; mount it"),
        (["data.corpus=file:///music"], "there is no remote storage yet; mount it"),
        (["task=spa2eng", "data.pairs_file=s3://a/b"], "there is no remote storage yet; mount it"),
        (["output_dir=~no-such-user/runs"], "there is no such user"),
        ([f"output_dir={'a' * 300}"], "one that is too long"),
        (["output_dir=a\0b"], "output_dir: must be a path, got 'a\\x00b'"),
        (["output_dir=\udcff"], "'output_dir=\\udcff': is no text in UTF-8"),
        (["name=a/b"], "name: must be at most 100 letters, digits and . _ -, beginning with"),
        (["name=.hidden"], "name: must be at most 100 letters"),
        (["name=-x"], "name: must be at most 100 letters"),
        (["name="], "name: must be at most 100 letters"),
        ([f"name={'n' * 101}"], "name: must be at most 100 letters"),
        (["name=latest"], "has a meaning of its own in resume=latest"),
        (["resume=../x"], "resume: must be at most 100 letters"),
        (["resume=auto"], "add name=NAME"),
        (["resume=latest", "name=x"], "a study is resumed under its own name"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_values_that_tune_refuses(words, message, tmp_path, capsys):
    assert main(["tune", "--dry-run", *words]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert message in shown
    assert len(shown) < 500
    assert not list(tmp_path.iterdir())


def test_a_name_is_taken_as_it_is_written(tmp_path, capsys):
    assert main(["tune", "--dry-run", "task=adding", "name=007"]) == 0
    assert main(["tune", "resume=2026.10", "output_dir=runs"]) == 2
    assert "runs/studies: no studies" in capsys.readouterr().err


def bomb():
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for one, next_one in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{next_one}: &{next_one} [{','.join([f'*{one}'] * 9)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(), "its aliases (*name) stand for more than 100000 values"),
        ("a: &a [*a]", "its aliases (*name) stand for more than 100000 values"),
        ("a: 1\n" * 30_000, "has 150000 bytes, more than the 100000 that settings ever need"),
        ("[" * 20_000, "is nested too deeply"),
        ("depth: ${depth}", "depth: cannot be resolved (Recursive interpolation detected)"),
        ("depth: ${nothing}", "depth: cannot be resolved (Interpolation key 'nothing' not found)"),
        ("depth: ${oc.env:NOT_THERE_1}", "Environment variable 'NOT_THERE_1' not found"),
        ("depth: ${", "not readable as YAML"),
        ("config: 3", "config: must hold keys and values"),
        ("config: {}\nprovenance: [1]", "provenance: must hold keys and values"),
        ("- 1", "must hold keys and values"),
        ("", "task: must be one of"),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.timeout(20)
def test_files_that_train_refuses(text, message, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(text)
    assert main(["train", "config=config.yaml"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: config.yaml: ")
    assert message in shown
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_that_is_no_text_is_refused(tmp_path, capsys):
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    assert main(["train", "config=config.yaml"]) == 2
    assert "config.yaml: not readable as YAML" in capsys.readouterr().err


@pytest.mark.timeout(20)
def test_what_is_no_file_is_never_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for words in (
        ["train", "config=pipe"],
        ["train", "config=/dev/zero"],
        ["train", "config=."],
        ["tune", "--dry-run", "task=spa2eng", "data.pairs_file=pipe"],
        ["tune", "--dry-run", "data.corpus=./pipe"],
        ["tune", "--dry-run", "data.corpus=demo", "output_dir=pipe"],
        ["report", "records=pipe"],
        ["sync", "pipe"],
    ):
        assert main(words) == 2, words
        assert capsys.readouterr().err.startswith("error: ")


def test_aliases_within_reason_are_read(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(
        "task: adding\nmodel: dmu\ndepth: &depth 1\n"
        "network: {widths: [4], z_bias: *depth}\ntraining: {learning_rate: 0.01, replicas: 1}\n"
    )
    assert main(["train", "--dry-run", "config=config.yaml"]) == 0
    assert "replicas" in capsys.readouterr().out
