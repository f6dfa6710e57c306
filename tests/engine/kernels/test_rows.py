"""The packing against what can be read off by hand."""

import numpy as np
import pytest
import torch

from dmu_search.engine.kernels.rows import PackedRows, take_rows
from dmu_search.errors import ConfigError

CPU = torch.device("cpu")


def test_layout_by_hand(uneven: PackedRows) -> None:
    assert uneven.order.tolist() == [[1, 2, 0], [0, 1, 2]]
    assert uneven.active_rows.tolist() == [[3, 3, 2, 2, 1], [3, 3, 2, 0, 0]]
    assert uneven.offsets.tolist() == [[0, 3, 6, 8, 10], [0, 3, 6, 8, 8]]
    assert uneven.row_counts.tolist() == [11, 8]
    assert uneven.step_sizes == [3, 3, 2, 2, 1]
    assert uneven.time[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4]
    assert uneven.sequence[0].tolist() == [1, 2, 0, 1, 2, 0, 1, 2, 1, 2, 1]
    assert uneven.time[1].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 0, 0, 0]
    assert uneven.sequence[1].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 0, 0, 0]
    assert uneven.valid.sum(dim=1).tolist() == [11, 8]
    assert not uneven.agree


def test_gather_index_finds_every_step_once() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, size=(3, 5))
    starts = lengths.cumsum(axis=1) - lengths
    rows = PackedRows(lengths, CPU)
    index = rows.gather_index(starts)
    for replica in range(3):
        found = index[replica][rows.valid[replica]].sort().values
        assert found.tolist() == list(range(lengths[replica].sum()))


def test_steps_and_back_is_the_identity_on_real_rows(uneven: PackedRows) -> None:
    packed = torch.arange(2 * 11 * 2.0).reshape(2, 11, 2)
    steps = uneven.to_steps(packed)
    assert steps.shape == (2, sum(uneven.step_sizes), 2)
    again = uneven.from_steps(steps)
    assert torch.equal(again[uneven.valid], packed[uneven.valid])


def test_replicas_that_agree_are_not_copied() -> None:
    rows = PackedRows(np.array([[3, 1], [1, 3]]), CPU)
    packed = torch.randn(2, 4, 2)
    assert rows.to_steps(packed) is packed
    assert rows.from_steps(packed) is packed


def test_last_and_sums_are_in_batch_order(uneven: PackedRows) -> None:
    ends = uneven.last(uneven.time.unsqueeze(-1))
    assert ends.squeeze(-1).tolist() == (uneven.lengths - 1).tolist()
    ones = torch.ones(2, 11)
    assert uneven.sum_by_sequence(ones).tolist() == uneven.lengths.tolist()
    assert uneven.mean(uneven.sequence.double())[1].item() == (3 * 0 + 3 * 1 + 2 * 2) / 8


def test_padding_does_not_reach_mean_or_sums(uneven: PackedRows) -> None:
    values = torch.ones(2, 11).masked_fill(~uneven.valid, float("nan"))
    assert uneven.mean(values).tolist() == [1.0, 1.0]
    assert uneven.sum_by_sequence(values).tolist() == uneven.lengths.tolist()


def test_take_rows_takes_per_replica() -> None:
    values = torch.arange(6.0).reshape(2, 3, 1)
    taken = take_rows(values, torch.tensor([[2, 0], [1, 1]]))
    assert taken.squeeze(-1).tolist() == [[2.0, 0.0], [4.0, 4.0]]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (np.array([[3, 0]]), "got a length of 0"),
        (np.zeros((2, 0), dtype=np.int64), r"non-empty .*got \(2, 0\)"),
    ],
)
def test_bad_lengths(lengths: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PackedRows(lengths, CPU)
