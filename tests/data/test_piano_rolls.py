import numpy as np
import pytest
from scipy.io import savemat

from dmu_search.data.piano_rolls import read_piano_rolls
from dmu_search.errors import DataError

KEYS = ("traindata", "validdata", "testdata")


def cells(*rolls):
    array = np.empty((1, len(rolls)), dtype=object)
    array[0, :] = rolls
    return array


@pytest.fixture
def content():
    rolls = [np.eye(steps, 88, dtype=np.uint8) for steps in (2, 5, 3)]
    return {key: cells(*rolls[:number]) for number, key in enumerate(KEYS, start=1)}


def test_the_splits_are_read_in_order_as_contiguous_bytes(tmp_path, content):
    savemat(tmp_path / "a.mat", content)
    rolls = read_piano_rolls(tmp_path / "a.mat")
    assert [len(split) for split in (rolls.train, rolls.valid, rolls.test)] == [1, 2, 3]
    for number, roll in enumerate(rolls.test):
        np.testing.assert_array_equal(roll, content["testdata"][0, number])
        assert roll.dtype == np.uint8
        assert roll.flags.c_contiguous


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("validdata", None, r"a\.mat: the key validdata is missing; keys found: traindata, testd"),
        ("testdata", cells(np.zeros((4, 87))), r"testdata\[0\]: must have the shape \(time, 88\)"),
        ("traindata", cells(np.full((4, 88), 3)), r"traindata\[0\]: must hold only 0 and 1.* 3"),
        ("traindata", np.zeros((4, 88)), "traindata must be a cell array"),
    ],
)
def test_another_layout_is_an_error_that_names_file_and_key(tmp_path, content, key, value, fault):
    content[key] = value
    savemat(tmp_path / "a.mat", {name: cell for name, cell in content.items() if cell is not None})
    with pytest.raises(DataError, match=fault):
        read_piano_rolls(tmp_path / "a.mat")


@pytest.mark.parametrize("junk", [b"", b"not MATLAB at all" * 50])
def test_a_file_of_another_kind_is_an_error(tmp_path, junk):
    (tmp_path / "b.mat").write_bytes(junk)
    with pytest.raises(DataError, match=r"b\.mat: cannot be read as a MATLAB file"):
        read_piano_rolls(tmp_path / "b.mat")
