"""A simulated study on a tiny table, whose finalists are really trained."""

import csv
import json
import statistics
from dataclasses import replace

import finalists
import pytest
import record_table
from simulation.recordings import Recording, train
from simulation.tables import Table, write_part

SMALL = Recording(
    "adding",
    "dmu",
    8,
    3,
    2,
    {"data.batches_per_epoch": 2, "data.length": 12, "search.trials": 6},
    valid_sequences=20,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    record_table.record([SMALL], folder)
    # Whose epochs end first must not hang on how busy the machine was.
    lines = [
        {**line, "seconds_per_epoch": 1.0}
        for line in record_table.read_lines(folder / "adding-dmu.jsonl")
    ]
    write_part(folder / "adding-dmu", SMALL.about(), lines=lines)
    return folder


def part_of(folder, work):
    return finalists.Part(
        lambda seed: Table(f"adding-dmu@{seed}", folder),
        SMALL,
        work=work,
        finalist_seeds=3,
        further_seeds=4,
    )


def test_studies_are_searched_trained_decided_and_compared(folder, tmp_path):
    rows = part_of(folder, tmp_path).carry_out(range(2))
    assert [(row.study, row.table_seed, row.seeds) for row in rows] == [
        (0, 0, 2),
        (0, 0, 3),
        (1, 1, 2),
        (1, 1, 3),
    ]
    table = Table("adding-dmu", folder)
    for row in rows:
        numbers = [int(number) for number in row.finalists.split()]
        assert len(set(numbers)) == 3
        assert {row.winner, 0} <= set(numbers), "the paper's setting is compared"
        assert row.low < row.mean < row.high
        assert row.covered == (row.low <= row.further_mean <= row.high)
        excess = row.further_mean - row.paper_further_mean
        assert row.worse == (excess > row.high - row.mean)
        # The search saw the table's setting, not the proposal that it answered.
        seen = table.settings[row.winner].training(row.table_seed).objectives[-1]
        assert row.in_search == pytest.approx(seen)
    last = rows[-1]
    again = train(
        SMALL,
        SMALL.make_task(),
        values=table.settings[last.winner].values,
        # Two seeds of the table, four further ones, three of the study before.
        first_seed=9,
        seeds=3,
    )
    assert last.mean == pytest.approx(statistics.fmean(map(min, again.losses)), rel=1e-4)


def test_the_same_command_trains_nothing_twice(folder, tmp_path):
    rows = part_of(folder, tmp_path).carry_out(range(2))
    file = tmp_path / "adding-dmu.jsonl"
    whole = file.read_text()
    assert part_of(folder, tmp_path).carry_out(range(2)) == rows
    assert file.read_text() == whole
    # Cut off within its last training: only that is trained again.
    file.write_text(whole[:-20])
    for old, new in zip(rows, part_of(folder, tmp_path).carry_out(range(2)), strict=True):
        assert (new.finalists, new.winner) == (old.finalists, old.winner)
        assert new.mean == pytest.approx(old.mean, rel=1e-4)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    trained = [
        (line["setting"], seed)
        for line in lines
        for seed in range(line["first_seed"], line["first_seed"] + len(line["best"]))
    ]
    assert len(trained) == len(set(trained))


def test_the_file_and_the_summary_count_studies(folder, tmp_path):
    (row, *_) = part_of(folder, tmp_path).carry_out(range(1))
    rows = [replace(row, study=n, covered=n > 0, worse=n == 1) for n in range(4)]
    finalists.write_rows(tmp_path / "studies.csv", rows)
    with (tmp_path / "studies.csv").open(newline="") as opened:
        assert [entry["covered"] for entry in csv.DictReader(opened)] == ["False"] + ["True"] * 3
    *_, every = finalists.summary(rows).splitlines()
    assert every.split() == ["2", "all", "4", "3,", "75", "%", "(30", "to", "95)", "1"]


def test_seeds_that_are_near_are_trained_together():
    assert finalists._spans([5, 6, 9, 30, 31]) == [(5, 9), (30, 31)]
    assert finalists._spans([]) == []
