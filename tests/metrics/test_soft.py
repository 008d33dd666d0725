"""Threshold-free quantities: ties as expected values, against enumeration."""

from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsl_bench.metrics.soft import soft_counts

from .maps import scored_truths


def mean_share(scores: NDArray[np.float32], truth: NDArray[np.bool_], count: int) -> float:
    """Share of the first `count` pixels in the truth, over every order that sorts the scores downwards."""
    values, inside = scores.ravel().tolist(), truth.ravel().tolist()
    orders = [
        order
        for order in itertools.permutations(range(len(values)))
        if all(values[a] >= values[b] for a, b in itertools.pairwise(order))
    ]
    return float(np.mean([sum(inside[pixel] for pixel in order[:count]) / count for order in orders]))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6))
def test_ties_count_as_expected_values(pixels: list[tuple[int, bool]]) -> None:
    scores = np.array([[score / 4 for score, _ in pixels]], dtype=np.float32)
    truth = np.array([[inside for _, inside in pixels]])
    found = soft_counts(scores, truth)
    if not truth.any():
        assert np.isnan([found.pointing, found.rank_accuracy]).all()
    elif not scores.any():
        assert (found.pointing, found.rank_accuracy) == (0, 0)
    else:
        assert found.pointing == pytest.approx(mean_share(scores, truth, 1))
        assert found.rank_accuracy == pytest.approx(mean_share(scores, truth, int(truth.sum())))


@settings(deadline=None, max_examples=60)
@given(scored_truths())
def test_sums(sample: tuple[NDArray[np.float32], NDArray[np.bool_]]) -> None:
    scores, truth = sample
    found = soft_counts(scores, truth)
    within = [float(s) for s, inside in zip(scores.ravel(), truth.ravel(), strict=True) if inside]
    outside = [float(s) for s, inside in zip(scores.ravel(), truth.ravel(), strict=True) if not inside]
    assert found.maximum == max(within + outside)
    assert found.sum_inside == pytest.approx(sum(within), rel=1e-12)
    assert found.sum_outside == pytest.approx(sum(outside), rel=1e-12)
    for side, spread in ((within, found.spread_inside), (outside, found.spread_outside)):
        expected = len(side) * statistics.pvariance(side) if side else 0
        assert spread == pytest.approx(expected, rel=1e-12, abs=1e-25)


def test_by_hand() -> None:
    scores = np.array([[0.75, 0.75, 0.5], [0.5, 0.5, 0.25]], dtype=np.float32)
    truth = np.array([[True, False, True], [True, False, False]])
    found = soft_counts(scores, truth)
    # The highest two tie; the third place is drawn among three pixels, two of them in the truth.
    assert found.pointing == 0.5
    assert found.rank_accuracy == pytest.approx((1 + 2 / 3) / 3)
    assert (found.maximum, found.sum_inside, found.sum_outside) == (0.75, 1.75, 1.5)
    # Inside .75 .5 .5 around 7/12, outside .75 .5 .25 around 1/2.
    assert found.spread_inside == pytest.approx(1 / 24)
    assert found.spread_outside == 0.125


def test_a_blank_map_found_nothing_and_a_constant_one_is_at_chance() -> None:
    truth = np.zeros((2, 4), dtype=np.bool_)
    truth[0, :2] = True
    blank = soft_counts(np.zeros((2, 4), dtype=np.float32), truth)
    assert (blank.pointing, blank.rank_accuracy, blank.maximum) == (0, 0, 0)
    constant = soft_counts(np.full((2, 4), 0.3, dtype=np.float32), truth)
    assert (constant.pointing, constant.rank_accuracy) == (0.25, 0.25)


def test_bad_maps_are_refused() -> None:
    truth = np.zeros((2, 2), dtype=np.bool_)
    with pytest.raises(ValueError, match="like the scores"):
        soft_counts(np.zeros((2, 3), dtype=np.float32), truth)
    for bad in (np.nan, np.inf, -0.5):
        with pytest.raises(ValueError, match="finite values from 0 up"):
            soft_counts(np.full((2, 2), bad, dtype=np.float32), truth)
