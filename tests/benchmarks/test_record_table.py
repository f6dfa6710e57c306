import json
import math

import numpy as np
import pytest
import record_table
from simulation.recordings import RECORDINGS, Curves, Recording, line_of, train
from simulation.tables import TABLES, Table, write_part

SMALL = Recording(
    "adding", "dmu", 3, 2, 2, {"data.batches_per_epoch": 2, "data.length": 12}, valid_sequences=20
)


def test_a_recording_is_resumed_after_a_line_that_was_cut_off(tmp_path) -> None:
    record_table.record([SMALL], tmp_path)
    file = tmp_path / "adding-dmu.jsonl"
    whole = record_table.read_lines(file)
    assert [line["setting"] for line in whole] == list(range(5))
    assert [line["source"] for line in whole] == ["paper", "released"] + ["random"] * 3
    kept = file.read_text().splitlines(keepends=True)[:2]
    file.write_text("".join(kept) + '{"setting": 2, "sour')
    record_table.record([SMALL], tmp_path)
    again = record_table.read_lines(file)
    assert [(line["values"], line["losses"]) for line in again] == [
        (line["values"], line["losses"]) for line in whole
    ]
    assert file.read_text().splitlines(keepends=True)[:2] == kept


def test_what_is_recorded_becomes_a_part_of_the_table(tmp_path) -> None:
    record_table.record([SMALL], tmp_path)
    lines = record_table.read_lines(tmp_path / "adding-dmu.jsonl")
    write_part(tmp_path / "adding-dmu", SMALL.about(), lines=lines)
    table = Table("adding-dmu", tmp_path)
    assert table.space == SMALL.study.space
    assert [dict(each.values) for each in table.settings] == [line["values"] for line in lines]
    for setting, line in zip(table.settings, lines, strict=True):
        assert setting.losses == pytest.approx(np.array(line["losses"]), rel=5e-4)


def test_seeds_are_trained_as_they_would_be_alone() -> None:
    task = SMALL.make_task()
    *_, (_, values) = SMALL.drawn()
    both = train(SMALL, task, values=values)
    alone = train(SMALL, task, values=values, first_seed=1, seeds=1)
    assert len(both.losses) == 2
    assert alone.losses[0] == pytest.approx(both.losses[1], rel=1e-4)


def test_the_validation_set_is_as_large_as_stated() -> None:
    assert SMALL.make_task().fixed_set("valid").count == 20


def test_divergence_is_null_and_leaves_the_rest() -> None:
    line = line_of(
        7, "random", values={"training.gamma": 1.0}, curves=Curves(((0.5, math.nan),), 0.25)
    )
    assert json.loads(json.dumps(line, allow_nan=False))["losses"] == [[0.5, None]]


def test_a_training_that_diverges_is_filled_up() -> None:
    task = SMALL.make_task()
    *_, (_, values) = SMALL.drawn()
    wild = {**values, "training.learning_rate": 1e30, "training.gradient_clipping": "off"}
    curves = train(SMALL, task, values=wild)
    assert [len(of_seed) for of_seed in curves.losses] == [2, 2]
    assert all(math.isnan(of_seed[-1]) for of_seed in curves.losses)


def test_a_new_folder_begins_with_what_the_table_holds(tmp_path) -> None:
    recording = RECORDINGS["adding-dmu"]
    file = tmp_path / "adding-dmu.jsonl"
    record_table.begin_with_table(file, recording)
    table = Table("adding-dmu")
    lines = record_table.read_lines(file)
    assert [line["setting"] for line in lines] == [each.number for each in table.settings]
    write_part(tmp_path / "again", recording.about(), lines=lines)
    for name in ("about.json", "settings.csv", "curves.csv.gz"):
        assert (tmp_path / "again" / name).read_bytes() == (
            TABLES / "adding-dmu" / name
        ).read_bytes()


def test_a_recording_of_another_kind_begins_anew(tmp_path) -> None:
    record_table.begin_with_table(tmp_path / "adding-dmu.jsonl", SMALL)
    assert not (tmp_path / "adding-dmu.jsonl").exists()
