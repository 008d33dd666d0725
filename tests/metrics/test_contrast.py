"""Contrast and relevance mass against exact fractions of the pixels themselves."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsl_bench.metrics.soft import SoftCounts, contrast_to_noise, relevance_mass, soft_counts

from .maps import scored_truths

Side = tuple[int, int, int]


def contrast_of(counts: SoftCounts, n_inside: int, n_outside: int) -> float:
    sums = np.array([counts.sum_inside]), np.array([counts.sum_outside])
    spreads = np.array([counts.spread_inside]), np.array([counts.spread_outside])
    (value,) = contrast_to_noise(sums, spreads, (np.array([float(n_inside)]), np.array([float(n_outside)])))
    return float(value)


def mean_and_variance(pixels: list[Fraction]) -> tuple[Fraction, Fraction]:
    mean = sum(pixels, Fraction(0)) / len(pixels)
    return mean, sum(((p - mean) ** 2 for p in pixels), Fraction(0)) / len(pixels)


@settings(deadline=None, max_examples=120)
@given(scored_truths())
def test_contrast_of_a_map(sample: tuple[NDArray[np.float32], NDArray[np.bool_]]) -> None:
    scores, truth = sample
    sides = [[Fraction(float(s)) for s in scores[mask]] for mask in (truth, ~truth)]
    found = contrast_of(soft_counts(scores, truth), len(sides[0]), len(sides[1]))
    if not all(sides):
        assert math.isnan(found)
        return
    (inside, v_inside), (outside, v_outside) = map(mean_and_variance, sides)
    difference, variance = abs(inside - outside), v_inside + v_outside
    if variance == 0:
        assert found == (0 if difference == 0 else math.inf)
    else:
        # Not the quotient: where scores differ by a last bit, the means do so by less than they are rounded by.
        assert found * math.sqrt(variance) == pytest.approx(float(difference), rel=1e-12, abs=1e-14)


areas = st.integers(0, 20)
sides = areas.flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, 3 * n), st.just(n)))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(sides, sides), max_size=6))
def test_contrast_of_counts(images: list[tuple[Side, Side]]) -> None:
    columns = np.array(images, dtype=np.float64).reshape(-1, 2, 3)
    sums, spreads, sizes = ((columns[:, 0, i], columns[:, 1, i]) for i in range(3))
    found = contrast_to_noise(sums, spreads, sizes)
    assert found.shape == (len(images),)
    for value, (inside, outside) in zip(found, images, strict=True):
        if inside[2] == 0 or outside[2] == 0:
            assert math.isnan(value)
            continue
        difference = abs(Fraction(inside[0], inside[2]) - Fraction(outside[0], outside[2]))
        variance = Fraction(inside[1], inside[2]) + Fraction(outside[1], outside[2])
        if difference == 0:
            assert value == 0
        elif variance == 0:
            assert value == math.inf
        else:
            assert value == pytest.approx(math.sqrt(difference**2 / variance), rel=1e-12)


def test_contrast_by_hand() -> None:
    # Inside 1, 1, 0.5, 0.5: mean 3/4, variance 1/16. Outside 0.5, 0, 0, 0.5: mean 1/4, variance 1/16.
    scores = np.array([[1, 1, 0.5, 0], [0.5, 0.5, 0, 0.5]], dtype=np.float32)
    truth = np.array([[True, True, False, False], [True, True, False, False]])
    # (3/4 - 1/4) / sqrt(1/8) = sqrt(2); which side is the brighter does not matter.
    assert contrast_of(soft_counts(scores, truth), 4, 4) == pytest.approx(math.sqrt(2), rel=1e-15)
    assert contrast_of(soft_counts(scores, ~truth), 4, 4) == pytest.approx(math.sqrt(2), rel=1e-15)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 1.0, 1e-30])
def test_a_constant_map_has_no_contrast(value: float) -> None:
    truth = np.zeros((7, 9), dtype=np.bool_)
    truth[2:5, 1:4] = True
    assert contrast_of(soft_counts(np.full((7, 9), value, dtype=np.float32), truth), 9, 54) == 0


def test_two_constants_have_an_infinite_one() -> None:
    truth = np.zeros((7, 9), dtype=np.bool_)
    truth[2:5, 1:4] = True
    scores = np.where(truth, np.float32(0.3), np.float32(0.1))
    assert contrast_of(soft_counts(scores, truth), 9, 54) == math.inf
    # One pixel a last bit higher and it is finite.
    scores[0, 0] = np.nextafter(scores[0, 0], np.float32(1))
    assert math.isfinite(contrast_of(soft_counts(scores, truth), 9, 54))


@settings(deadline=None, max_examples=120)
@given(st.lists(scored_truths(), max_size=3))
def test_relevance_mass(samples: list[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> None:
    counts = [soft_counts(scores, truth) for scores, truth in samples]
    inside, outside = np.array([c.sum_inside for c in counts]), np.array([c.sum_outside for c in counts])
    found = relevance_mass(inside, outside)
    assert found.shape == (len(samples),)
    for value, (scores, truth) in zip(found, samples, strict=True):
        total = sum((Fraction(float(s)) for s in scores.ravel()), Fraction(0))
        own = sum((Fraction(float(s)) for s in scores[truth]), Fraction(0))
        assert value == pytest.approx(float(own / total) if total else 0.0, abs=1e-12)


def test_relevance_mass_by_hand() -> None:
    # 3 of 4 lie inside; all; none; a blank map has nothing to share.
    found = relevance_mass(np.array([3.0, 2.0, 0.0, 0.0]), np.array([1.0, 0.0, 5.0, 0.0]))
    assert found.tolist() == [0.75, 1.0, 0.0, 0.0]
