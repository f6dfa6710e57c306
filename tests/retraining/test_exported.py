import pytest

from dmu_search.config.keys import KEYS
from dmu_search.config.settings import RunSettings
from dmu_search.errors import ConfigError
from dmu_search.retraining.exported import read_run_file, write_run_file
from tests.studies import plan_studies

VALUES = {
    "training.learning_rate": 0.01,
    "training.weight_decay": 1e-5,
    "training.gamma": 0.99,
    "training.batch_size": 16,
    "training.block_learning_rate_rule": "released",
    "network.z_bias": 1.5,
}


@pytest.mark.parametrize("model", ["dmu", "rhn", "lstm"])
@pytest.mark.parametrize(
    "words",
    [
        ["task=polymusic", "data.corpus=demo"],
        ["task=noiseseq", "data.noise=fixed"],
        ["task=adding"],
        ["task=por2eng", "data.pairs=all", "data.pairs_file=mine.zip"],
    ],
)
def test_an_exported_configuration_comes_back_the_same(tmp_path, model, words):
    (study,) = plan_studies([f"model={model}", "depth=2", *words])
    run = study.run({name: v for name, v in VALUES.items() if name in study.space})
    path = tmp_path / "best.yaml"
    write_run_file(path, run, provenance={"objective": 3.5})
    file = read_run_file(path)
    assert file.provenance == {"objective": 3.5}
    assert file.run({}, {}) == run
    assert RunSettings.from_values(run.task, run.model, depth=run.depth, values=run.values()) == run


def test_nothing_is_left_beside_an_exported_file(tmp_path):
    (study,) = plan_studies([])
    write_run_file(tmp_path / "best.yaml", study.example(), provenance={})
    assert [file.name for file in tmp_path.iterdir()] == ["best.yaml"]


def test_a_hand_written_file_needs_no_heading(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: polymusic\nmodel: rhn\ndepth: 1\ntraining: {learning_rate: 1e-3}\n")
    file = read_run_file(path)
    assert file.values == {"training.learning_rate": 1e-3}
    assert not file.provenance


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("task: polymusic\nmodel: dmuu\n", ["model: must be one of", "depth: must be a whole"]),
        (
            "task: polymusic\nmodel: dmu\ndepth: 1\ntraining: {lr: 1, gamma: 2}\n",
            ["training.lr: there is no such key", "training.gamma: must be a number > 0 and <= 1"],
        ),
        (
            "task: polymusic\nmodel: dmu\ndepth: 1\ntraining: {gamma: 'interval(0.5,1)'}\n",
            ["training.gamma: must be a number > 0 and <= 1, got 'interval"],
        ),
        (
            "task: adding\nmodel: rhn\ndepth: 1\ndata: {limit: 3}\nnetwork: {z_bias: 1}\n",
            [
                f"data.limit: only {', '.join(KEYS['data.limit'].tasks)} have it, got",
                "network.z_bias: only dmu has it, got model=rhn",
            ],
        ),
        ("- 1\n", ["must hold keys and values"]),
        ("a: [1\n", ["not readable as YAML"]),
    ],
)
def test_faults_of_a_file_are_reported_together(tmp_path, text, messages):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_run_file(path)
    assert all(str(path) in fault for fault in caught.value.faults)
    for message in messages:
        assert message in str(caught.value)


def test_a_missing_learning_rate_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: polymusic\nmodel: rhn\ndepth: 1\n")
    with pytest.raises(ConfigError, match=r"training.learning_rate: is missing from the file"):
        read_run_file(path).run({}, {"network.widths": "auto"})
