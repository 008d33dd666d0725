"""Pixel curves and metrics against loops over thresholds and against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from wsl_bench.metrics.pixel import (
    curves_from_histograms,
    dice,
    fnr,
    fpr,
    iop,
    iou,
    pixel_ap,
    pixel_histograms,
    pxap,
)

from .maps import GRID, scored_truths

Sample = tuple[NDArray[np.float32], NDArray[np.bool_]]


def naive_curves(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    predicted = [scores >= t for t in GRID]
    return [int((p & truth).sum()) for p in predicted], [int((p & ~truth).sum()) for p in predicted]


def curves(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return curves_from_histograms(*pixel_histograms(scores, truth))


@settings(deadline=None, max_examples=100)
@given(scored_truths())
def test_curves_at_all_thresholds(sample: Sample) -> None:
    scores, truth = sample
    inside, outside = pixel_histograms(scores, truth)
    assert inside.dtype == outside.dtype == np.uint32
    assert inside.sum() == truth.sum()
    tp, fp = curves_from_histograms(inside, outside)
    expected_tp, expected_fp = naive_curves(scores, truth)
    assert_array_equal(tp, expected_tp)
    assert_array_equal(fp, expected_fp)


@settings(deadline=None, max_examples=15)
@given(scored_truths())
def test_metrics_at_all_thresholds(sample: Sample) -> None:
    scores, truth = sample
    tp, fp = curves(scores, truth)
    area, n = int(truth.sum()), truth.size
    for k, t in enumerate(GRID):
        predicted = scores >= t
        both, either, size = (predicted & truth).sum(), (predicted | truth).sum(), predicted.sum()
        expected = [
            both / size if size else 0,
            (predicted & ~truth).sum() / (n - area) if area < n else np.nan,
            (truth & ~predicted).sum() / area if area else np.nan,
            both / either if either else 0,
            2 * both / (size + area) if size + area else 0,
        ]
        found = [
            iop(tp[k], fp[k]),
            fpr(fp[k], area, n),
            fnr(tp[k], area),
            iou(tp[k], fp[k], area),
            dice(tp[k], fp[k], area),
        ]
        assert_allclose(found, expected, rtol=1e-12)


def naive_ap(samples: list[Sample]) -> float:
    total = sum(int(truth.sum()) for _, truth in samples)
    area_under, recall_before = 0.0, 0.0
    for t in reversed(GRID):
        both = sum(int(((scores >= t) & truth).sum()) for scores, truth in samples)
        size = sum(int((scores >= t).sum()) for scores, _ in samples)
        if size:
            area_under += both / size * (both / total - recall_before)
            recall_before = both / total
    return area_under


@settings(deadline=None, max_examples=40)
@given(scored_truths(), scored_truths())
def test_average_precision_against_the_definition(one: Sample, other: Sample) -> None:
    samples = [one, other]
    histograms = [pixel_histograms(*sample) for sample in samples]
    tp, fp = curves_from_histograms(*(np.array(part) for part in zip(*histograms, strict=True)))
    areas = np.array([truth.sum() for _, truth in samples])
    expected = [naive_ap([sample]) if sample[1].any() else np.nan for sample in samples]
    assert_allclose(pixel_ap(tp, fp, areas), expected, rtol=1e-12)
    pooled = pxap(tp, fp, areas)
    assert_allclose(pooled, naive_ap(samples) if areas.any() else np.nan, rtol=1e-12)


def test_a_blank_map_found_nothing() -> None:
    truth = np.zeros((4, 5), dtype=np.bool_)
    truth[0, :2] = True
    tp, fp = curves(np.zeros((4, 5), dtype=np.float32), truth)
    assert tp[0] == 2
    assert fp[0] == 18
    assert not tp[1:].any()
    assert not fp[1:].any()
    for k in (1, 500, 1000):
        metrics = [
            iop(tp[k], fp[k]),
            iou(tp[k], fp[k], 2),
            dice(tp[k], fp[k], 2),
            fnr(tp[k], 2),
            fpr(fp[k], 2, 20),
        ]
        assert [float(metric) for metric in metrics] == [0, 0, 0, 1, 0]
    assert pixel_ap(tp, fp, 2) == pytest.approx(0.1)


def test_a_full_map_marks_everything() -> None:
    truth = np.zeros((4, 5), dtype=np.bool_)
    truth[0] = True
    tp, fp = curves(np.ones((4, 5), dtype=np.float32), truth)
    assert_array_equal(iop(tp, fp), np.full(1001, 0.25))
    assert_array_equal(fpr(fp, 5, 20), np.ones(1001))
    assert_array_equal(fnr(tp, 5), np.zeros(1001))
    assert_array_equal(iou(tp, fp, 5), np.full(1001, 0.25))
    assert_array_equal(dice(tp, fp, 5), np.full(1001, 0.4))
    assert pixel_ap(tp, fp, 5) == pytest.approx(0.25)


def test_a_map_worked_out_by_hand() -> None:
    # Two pixels of truth; the scores 0.8, 0.5, 0.5, 0.2 stand inside, outside, inside, outside.
    scores = np.array([[0.8, 0.5], [0.5, 0.2]], dtype=np.float32)
    truth = np.array([[True, False], [True, False]])
    tp, fp = curves(scores, truth)
    at = [900, 800, 500, 200]
    assert tp[at].tolist() == [0, 1, 2, 2]
    assert fp[at].tolist() == [0, 0, 1, 2]
    assert iop(tp, fp)[at].tolist() == [0, 1, 2 / 3, 0.5]
    assert iou(tp, fp, 2)[at].tolist() == [0, 0.5, 2 / 3, 0.5]
    assert fnr(tp, 2)[at].tolist() == [1, 0.5, 0, 0]
    assert fpr(fp, 2, 4)[at].tolist() == [0, 0, 0.5, 1]
    assert pixel_ap(tp, fp, 2) == pytest.approx(1 / 2 + 1 / 3)


def test_a_score_on_a_threshold_counts_there() -> None:
    scores = np.array([[0.7]], dtype=np.float32)
    tp, _ = curves(scores, np.array([[True]]))
    assert tp[700] == 1
    assert tp[701] == 0
    below = np.nextafter(scores, np.float32(0))
    assert curves(below, np.array([[True]]))[0][[699, 700]].tolist() == [1, 0]


def test_undefined_rates_are_nan() -> None:
    assert np.isnan(fpr(0, 6, 6))
    assert np.isnan(fnr(0, 0))
    assert np.isnan(pixel_ap(np.zeros(1001), np.ones(1001), 0))
    assert np.isnan(pxap(np.zeros((3, 1001)), np.ones((3, 1001)), np.zeros(3)))


def test_unsigned_counts_do_not_wrap_around() -> None:
    ten, three = np.array([10], dtype=np.uint32), np.array([3], dtype=np.uint8)
    assert fnr(three, ten).tolist() == [0.7]
    assert fpr(three, ten, np.array([16], dtype=np.uint8)).tolist() == [0.5]


def test_metrics_broadcast() -> None:
    tp, area = np.ones((3, 1001)), np.array([1, 2, 4])
    assert fnr(tp, area[:, None]).shape == (3, 1001)
    assert fnr(tp, area[:, None])[:, 0].tolist() == [0, 0.5, 0.75]


def test_the_inputs_stay_as_they_are() -> None:
    scores = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    truth = scores > 0.5
    before = scores.copy(), truth.copy()
    scores.flags.writeable = truth.flags.writeable = False
    one = pixel_histograms(scores, truth)
    other = pixel_histograms(scores[::-1].copy()[::-1], truth)
    assert_array_equal(one, other)
    assert_array_equal(scores, before[0])
    assert_array_equal(truth, before[1])


def test_bad_maps_are_refused() -> None:
    scores, truth = np.zeros((2, 3), dtype=np.float32), np.zeros((2, 3), dtype=np.bool_)
    with pytest.raises(ValueError, match=r"expected bool \(2, 3\) like the scores, found bool \(3, 2\)"):
        pixel_histograms(scores, truth.T)
    with pytest.raises(ValueError, match="found uint8"):
        pixel_histograms(scores, truth.astype(np.uint8))
    with pytest.raises(ValueError, match="found 6 that are not finite"):
        pixel_histograms(np.full((2, 3), np.nan, dtype=np.float32), truth)
    with pytest.raises(ValueError, match=r"found \[1\.5, 1\.5\]"):
        pixel_histograms(np.full((2, 3), 1.5, dtype=np.float32), truth)
