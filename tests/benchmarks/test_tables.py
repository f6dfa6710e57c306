import json
import math

import numpy as np
import pytest
from simulation.recordings import RECORDINGS
from simulation.tables import TABLES, Table, distances, parts, place, write_part

from dmu_search.config.distributions import Choice, Interval
from dmu_search.errors import ConfigError

RATE, BATCH = "training.learning_rate", "training.batch_size"
CLIPPING, NORM = "training.gradient_clipping", "training.gradient_clip_norm"
ABOUT = {
    "task": "polymusic",
    "epochs": 3,
    "seeds": 2,
    "space": {
        RATE: "tag(log,interval(1e-4,1e-2))",
        CLIPPING: "choice(off,norm)",
        NORM: "tag(log,interval(0.1,10))",
        BATCH: "choice(4,8,16)",
    },
}


def line(number, rate, losses, *, source="random", clipping="off", batch=8, **more):
    values = {RATE: rate, CLIPPING: clipping, BATCH: batch, **more}
    return {
        "setting": number,
        "source": source,
        "values": values,
        "seconds_per_epoch": 2.0,
        "losses": losses,
    }


LINES = [
    line(0, 1e-3, [[9.0, 8.0, 7.0], [9.0, 8.0, 7.0]], source="paper"),
    line(2, 1e-2, [[3.0, 5.0, None], [4.0, 2.0, 6.0]]),
    line(1, 1e-4, [[5.0, 4.0, 3.0], [7.0, 6.0, 7.0]], clipping="norm", **{NORM: 1.0}),
    line(3, 2e-4, [[5.0, None, None], [7.0, None, None]]),
    line(4, 1e-3, [[None, None, None], [1.0, 1.0, 1.0]], batch=16),
]


@pytest.fixture
def folder(tmp_path):
    write_part(tmp_path / "toy", ABOUT, LINES)
    return tmp_path


def test_what_is_written_is_read(folder) -> None:
    table = Table("toy", folder)
    assert table.space == {
        RATE: Interval(1e-4, 1e-2, log=True),
        CLIPPING: Choice(("off", "norm")),
        NORM: Interval(0.1, 10.0, log=True),
        BATCH: Choice((4, 8, 16)),
    }
    assert [each.number for each in table.settings] == [0, 1, 2, 3, 4]
    assert table.settings[1].values == {RATE: 1e-4, CLIPPING: "norm", NORM: 1.0, BATCH: 8}
    assert type(table.settings[1].values[BATCH]) is int
    expected = [[3.0, 5.0, math.nan], [4.0, 2.0, 6.0]]
    assert np.array_equal(table.settings[2].losses, expected, equal_nan=True)


def test_equal_tables_are_equal_files(folder, tmp_path) -> None:
    write_part(tmp_path / "again", ABOUT, LINES[::-1])
    for file in (tmp_path / "again").iterdir():
        assert file.read_bytes() == (folder / "toy" / file.name).read_bytes()


def test_an_objective_is_the_mean_of_the_best_so_far_of_all_seeds(folder) -> None:
    settings = Table("toy", folder).settings
    assert settings[1].training(None).objectives == (6.0, 5.0, 4.5)
    assert settings[1].training(None).seconds_per_epoch == 2.0


def test_a_seed_that_diverged_counts_with_its_best_as_in_a_study(folder) -> None:
    assert Table("toy", folder).settings[2].training(None).objectives == (3.5, 2.5, 2.5)


def test_a_training_ends_where_all_seeds_have_diverged(folder) -> None:
    objectives = Table("toy", folder).settings[3].training(None).objectives
    assert objectives[0] == 6.0
    assert all(math.isnan(value) for value in objectives[1:])


def test_a_seed_that_never_had_a_finite_epoch_leaves_no_objective(folder) -> None:
    assert all(math.isnan(v) for v in Table("toy", folder).settings[4].training(None).objectives)


def test_one_seed_alone(folder) -> None:
    table = Table("toy@1", folder)
    training = table.settings[1].training(table.seed)
    assert training.objectives == (7.0, 6.0, 6.0)
    assert training.seconds_per_epoch == 1.0
    assert table.best_known() == 1.0


def test_a_proposal_takes_the_nearest_setting_that_is_not_used(folder) -> None:
    table = Table("toy", folder)
    run = table.begin()
    near = {RATE: 9e-3, CLIPPING: "off", BATCH: 8}
    first, second = run.train(near), run.train(near)
    assert first == table.settings[2].training(None)
    assert second == table.settings[4].training(None)
    assert run.train(near) is not None
    assert run.train(near) is not None
    # The published setting is no answer, and all others are used.
    assert run.train(near) is None
    assert table.begin().train(near) == first


def test_places_are_on_the_spaces_own_scale(folder) -> None:
    space = Table("toy", folder).space
    own = place(space, {RATE: 1e-3, CLIPPING: "off", BATCH: 16})
    assert own == pytest.approx([0.5, math.sqrt(0.5), 0.0, math.nan, 1.0], nan_ok=True)


def test_words_are_one_apart_and_a_missing_key_adds_nothing(folder) -> None:
    space = Table("toy", folder).space
    off = place(space, {RATE: 1e-3, CLIPPING: "off", BATCH: 8})
    norms = [
        place(space, {RATE: 1e-3, CLIPPING: "norm", NORM: norm, BATCH: 8}) for norm in (0.1, 10.0)
    ]
    assert distances(off, np.array([off, *norms])) == pytest.approx([0.0, 1.0, 1.0])
    assert distances(norms[0], np.array(norms)) == pytest.approx([0.0, 1.0])


def test_the_papers_setting_is_the_good_prior(folder) -> None:
    table = Table("toy", folder)
    assert table.prior("good") == table.settings[0].values
    with pytest.raises(ConfigError, match="--prior bad: the table toy has a good prior only"):
        table.prior("bad")


@pytest.mark.parametrize(
    ("name", "message"),
    [("toys", "--table toys: no such part; there are toy"), ("toy@2", "its seeds are 0 to 1")],
)
def test_unknown_parts_and_seeds(folder, name, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Table(name, folder)


@pytest.mark.parametrize("name", parts())
def test_the_committed_table_is_whole(name) -> None:
    table, recording = Table(name), RECORDINGS[name]
    about = json.loads((TABLES / name / "about.json").read_text())
    assert about == {**recording.about(), "torch": about["torch"]}
    assert dict(table.space) == dict(recording.study.space)
    for setting in table.settings:
        assert setting.losses.shape == (recording.seeds, recording.epochs)
        assert all(value in table.space[key] for key, value in setting.values.items())
        assert setting.seconds_per_epoch > 0
    assert table.max_epochs >= 27


def test_the_committed_table_holds_what_its_recordings_draw_and_is_small() -> None:
    assert set(parts()) == set(RECORDINGS)
    sizes = [file.stat().st_size for file in TABLES.rglob("*") if file.is_file()]
    assert sum(sizes) < 5_000_000
    for name in parts():
        drawn = list(RECORDINGS[name].drawn())
        for setting in Table(name).settings[:20]:
            assert (setting.source, setting.values) == drawn[setting.number]
