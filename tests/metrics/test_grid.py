"""The threshold grid: every float32 in [0, 1] falls into the right bin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsl_bench.errors import UsageError
from wsl_bench.metrics.grid import N_THRESHOLDS, THRESHOLDS, threshold_bins, threshold_index

from .maps import GRID, edges


def expected_bins(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.searchsorted(np.array(GRID), scores, side="right") - 1


def test_the_grid_is_a_thousandth_apart() -> None:
    assert N_THRESHOLDS == 1001
    assert THRESHOLDS.dtype == np.float32
    assert THRESHOLDS.tolist() == [float(t) for t in GRID]


def test_bins_by_hand() -> None:
    scores = np.array([[0.0, -0.0, 0.0009], [0.001, 0.3, 0.9999]], dtype=np.float32)
    bins = threshold_bins(scores)
    assert bins.dtype == np.int16
    assert bins.tolist() == [[0, 0, 0], [1, 300, 999]]
    assert threshold_bins(np.ones(1, dtype=np.float32)).tolist() == [1000]


def test_bins_at_every_threshold_and_its_neighbours() -> None:
    np.testing.assert_array_equal(threshold_bins(edges()), expected_bins(edges()))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
def test_bins_of_any_floats(values: list[float]) -> None:
    scores = np.array(values, dtype=np.float32)
    np.testing.assert_array_equal(threshold_bins(scores), expected_bins(scores))


@pytest.mark.slow
def test_bins_of_every_float() -> None:
    # Right at every threshold and just below it (tested above) and never decreasing is right everywhere.
    last = 0
    for first in range(0, 0x3F800001, 1 << 24):
        bits = np.arange(first, min(first + (1 << 24), 0x3F800001), dtype=np.uint32)
        bins = threshold_bins(bits.view(np.float32))
        assert bins[0] >= last
        assert (np.diff(bins) >= 0).all()
        last = int(bins[-1])
    assert last == 1000


def test_bins_of_views_and_read_only_arrays() -> None:
    scores = np.random.default_rng(0).random((6, 8)).astype(np.float32)
    view = scores[::2, ::-3]
    np.testing.assert_array_equal(threshold_bins(view), expected_bins(view))
    scores.flags.writeable = False
    np.testing.assert_array_equal(threshold_bins(scores), expected_bins(scores))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-9, 1.0000001, 2.0])
def test_bins_refuse_scores_outside_the_unit_interval(bad: float) -> None:
    scores = np.array([0.5, bad], dtype=np.float32)
    with pytest.raises(ValueError, match=r"expected (finite )?values in \[0, 1\], found"):
        threshold_bins(scores)


def test_bins_refuse_other_types() -> None:
    with pytest.raises(ValueError, match="expected float32, found float64"):
        threshold_bins(np.zeros(3))  # type: ignore[arg-type]


def test_index_of_every_threshold() -> None:
    assert [threshold_index(k / 1000) for k in range(1, 1001)] == list(range(1, 1001))
    assert [threshold_index(float(t)) for t in GRID[1:]] == list(range(1, 1001))


@pytest.mark.parametrize("bad", [0.0, 0.0004, 0.0005, 0.1234, -0.1, 1.001, np.nan, np.inf])
def test_index_refuses_what_is_not_on_the_grid(bad: float) -> None:
    with pytest.raises(UsageError, match=r"multiple of 0\.001 from 0\.001 to 1"):
        threshold_index(bad)
