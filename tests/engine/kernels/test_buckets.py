"""Shapes that hold every batch, and batches laid out in them."""

import numpy as np
import pytest
import torch

from dmu_search.engine.kernels.buckets import (
    BUCKETS,
    Bucket,
    BucketRows,
    active_rows,
    find_buckets,
    smallest_fit,
)
from dmu_search.engine.kernels.rows import PackedRows, take_rows
from tests.engine.conftest import CPU

LENGTHS = np.array([[2, 5, 4], [3, 3, 2]])
STARTS = np.array([[0, 2, 7], [20, 23, 26]])


def tunes(count: int, seed: int = 0) -> np.ndarray:
    """Lengths with a long tail, like those of tunes."""
    lengths = np.random.default_rng(seed).lognormal(4.0, 0.6, count).astype(np.int64)
    return np.maximum(lengths, 1)


def drawn(lengths: np.ndarray, batch_size: int, replicas: int, epochs: int) -> list[np.ndarray]:
    rng = np.random.default_rng(9)
    orders = [np.stack([rng.permutation(lengths) for _ in range(replicas)]) for _ in range(epochs)]
    cuts = range(batch_size, lengths.size, batch_size)
    return [batch for order in orders for batch in np.split(order, cuts, axis=1)]


@pytest.mark.parametrize("replicas", [1, 5])
@pytest.mark.parametrize(("count", "batch_size"), [(200, 16), (7, 3), (5, 32), (1, 1)])
def test_every_batch_has_a_bucket_and_there_are_few(
    count: int, batch_size: int, replicas: int
) -> None:
    lengths = tunes(count)
    buckets = find_buckets(lengths, batch_size, replicas=replicas)
    assert len(buckets) <= BUCKETS
    for bucket in buckets:
        assert all(np.diff(bucket.step_sizes) <= 0)
        assert bucket.step_sizes[-1] >= 1
    for batch in drawn(lengths, batch_size, replicas, epochs=20):
        bucket = smallest_fit(buckets, batch)
        needed = active_rows(batch)
        assert (needed <= bucket.step_sizes[: len(needed)]).all()
    # However unlikely: the longest of all at once, in every replica.
    worst = np.tile(np.sort(lengths)[-batch_size:], (replicas, 1))
    assert smallest_fit(buckets, worst) == buckets[-1]


def test_padding_is_bounded() -> None:
    lengths = tunes(694)
    buckets = find_buckets(lengths, 32, replicas=1)
    batches = drawn(lengths, 32, 1, epochs=20)
    shapes = [smallest_fit(buckets, batch) for batch in batches]
    steps = sum(len(shape.step_sizes) for shape in shapes)
    assert steps < 1.25 * sum(batch.max() for batch in batches)
    # Sequences side by side, all as long as the longest of their batch, would take more than twice.
    rows = sum(shape.rows for shape in shapes)
    assert rows < 2.0 * lengths.sum() * 20
    assert 2 * rows < 3 * sum(batch.size * batch.max() for batch in batches)


def test_the_same_buckets_whenever_they_are_sought() -> None:
    assert find_buckets(tunes(50), 8, replicas=2) == find_buckets(tunes(50), 8, replicas=2)


def test_active_rows_are_those_of_the_packing() -> None:
    expected = PackedRows(LENGTHS, CPU).step_sizes
    assert active_rows(LENGTHS).tolist() == expected == [3, 3, 2, 2, 1]


@pytest.mark.parametrize("sizes", [(3, 3, 2, 2, 1), (4, 4, 4, 4, 4, 4, 1)])
def test_rows_of_a_bucket_hold_what_packed_rows_hold(sizes: tuple[int, ...]) -> None:
    packed = PackedRows(LENGTHS, CPU)
    rows = BucketRows.place(Bucket(sizes), LENGTHS, starts=STARTS, device=CPU)
    assert rows.counts.tolist() == packed.counts.tolist()
    assert (~rows.empty).sum(dim=1).tolist() == [11, 8]
    data = torch.randn(1, 30, 2, dtype=torch.float64).expand(2, -1, -1)
    ours = take_rows(data, rows.source)
    theirs = take_rows(data, packed.gather_index(STARTS))
    for replica in range(2):
        own = ours[replica][~rows.empty[replica]]
        assert torch.equal(own, theirs[replica][packed.valid[replica]])
        assert (ours[replica][rows.empty[replica]] == own[0]).all()
    assert torch.equal(rows.last(ours)[:, :3], packed.last(theirs))
    values = ours[..., 0].masked_fill(rows.empty, torch.nan)
    torch.testing.assert_close(rows.mean(values), packed.mean(theirs[..., 0]))
    state = torch.randn(2, sizes[0], 4)
    assert torch.equal(rows.sort(state)[:, :3], packed.sort(state[:, :3]))


def test_a_bucket_fits_what_it_has_room_for() -> None:
    bucket = Bucket((3, 2))
    for rows, fits in (([3, 2], True), ([3], True), ([3, 3], False), ([1, 1, 1], False)):
        assert bucket.fits(np.array(rows)) is fits
