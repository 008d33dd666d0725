"""Pixel curves at 1001 thresholds: one fused pass beside the loop over thresholds that it replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wsl_bench.metrics.grid import THRESHOLDS
from wsl_bench.metrics.pixel import curves_from_histograms, pixel_histograms

Counts = NDArray[np.int64]


def fused(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> tuple[Counts, Counts]:
    return curves_from_histograms(*pixel_histograms(scores, truth))


def loop_over_thresholds(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> tuple[Counts, Counts]:
    tp, fp = np.zeros(1001, dtype=np.int64), np.zeros(1001, dtype=np.int64)
    for k, t in enumerate(THRESHOLDS):
        predicted = scores >= t
        tp[k] = np.count_nonzero(predicted & truth)
        fp[k] = np.count_nonzero(predicted) - tp[k]
    return tp, fp


def numpy_histograms(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> tuple[Counts, Counts]:
    bins = np.searchsorted(THRESHOLDS, scores, side="right") - 1
    inside = np.bincount(bins[truth], minlength=1001)
    return curves_from_histograms(inside, np.bincount(bins[~truth], minlength=1001))


@pytest.mark.parametrize("shape", [(64, 64), (240, 320)], ids=["64x64", "240x320"])
@pytest.mark.parametrize("way", [fused, numpy_histograms, loop_over_thresholds], ids=lambda way: way.__name__)
def test_pixel_curves(benchmark: Any, shape: tuple[int, int], way: Callable[..., Any]) -> None:
    scores = np.random.default_rng(0).random(shape).astype(np.float32)
    truth = np.zeros(shape, dtype=np.bool_)
    truth[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = True
    benchmark.group = f"pixel curves, {shape[0]} x {shape[1]}"
    found = benchmark(way, scores, truth)
    np.testing.assert_array_equal(found, fused(scores, truth))
