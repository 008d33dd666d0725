"""Pixel curves at 1001 thresholds: one fused pass beside the loop over thresholds that it replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wsl_bench.metrics.grid import THRESHOLDS
from wsl_bench.metrics.pixel import curves_from_histograms, fnr, fpr, iop, iou, pixel_histograms

Curves = NDArray[np.float64]
Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]
N_MAPS = 16
# The test set of the InfoMask paper: 25,684 images, a tenth of them for test.
N_TEST = 2569


def fused(maps: Maps, truths: Masks) -> Curves:
    """IoP, FPR, FNR and IoU of a batch of maps, (4, N, 1001)."""
    both = [pixel_histograms(scores, truth) for scores, truth in zip(maps, truths, strict=True)]
    tp, fp = curves_from_histograms(*(np.array(side) for side in zip(*both, strict=True)))
    area, size = np.count_nonzero(truths, axis=(1, 2))[:, None], truths[0].size
    return np.array([iop(tp, fp), fpr(fp, area, size), fnr(tp, area), iou(tp, fp, area)])


def loop_over_thresholds(maps: Maps, truths: Masks) -> Curves:
    """The same as it is usually written."""
    out = np.zeros((4, len(maps), len(THRESHOLDS)))
    for i, (scores, truth) in enumerate(zip(maps, truths, strict=True)):
        for k, t in enumerate(THRESHOLDS):
            predicted = scores >= t
            both, size = (predicted & truth).sum(), predicted.sum()
            out[0, i, k] = both / size if size else 0.0
            out[1, i, k] = (predicted & ~truth).sum() / (~truth).sum()
            out[2, i, k] = (~predicted & truth).sum() / truth.sum()
            out[3, i, k] = both / (predicted | truth).sum()
    return out


def counting_loop(maps: Maps, truths: Masks) -> Curves:
    """The loop written with care: two counts a threshold, the rest by arithmetic."""
    out = np.zeros((4, len(maps), len(THRESHOLDS)))
    for i, (scores, truth) in enumerate(zip(maps, truths, strict=True)):
        area = np.count_nonzero(truth)
        for k, t in enumerate(THRESHOLDS):
            predicted = scores >= t
            both, size = np.count_nonzero(predicted & truth), np.count_nonzero(predicted)
            out[0, i, k] = both / size if size else 0.0
            out[1, i, k] = (size - both) / (truth.size - area)
            out[2, i, k] = (area - both) / area
            out[3, i, k] = both / (size + area - both)
    return out


def numpy_histograms(maps: Maps, truths: Masks) -> Curves:
    """Histograms too, but by numpy's own functions."""
    tp, fp = [], []
    for scores, truth in zip(maps, truths, strict=True):
        bins = np.searchsorted(THRESHOLDS, scores, side="right") - 1
        sides = (np.bincount(bins[side], minlength=1001) for side in (truth, ~truth))
        inside, outside = curves_from_histograms(*sides)
        tp.append(inside)
        fp.append(outside)
    area, size = np.count_nonzero(truths, axis=(1, 2))[:, None], truths[0].size
    at = np.array(tp), np.array(fp)
    return np.array([iop(*at), fpr(at[1], area, size), fnr(at[0], area), iou(*at, area)])


def batch(n: int, side: int) -> tuple[Maps, Masks]:
    maps = np.random.default_rng(0).random((n, side, side), dtype=np.float32)
    truths = np.zeros((n, side, side), dtype=np.bool_)
    truths[:, side // 4 : side // 2, side // 4 : side // 2] = True
    return maps, truths


@pytest.mark.parametrize("side", [64, 224])
@pytest.mark.parametrize(
    "way", [fused, numpy_histograms, counting_loop, loop_over_thresholds], ids=lambda way: way.__name__
)
def test_four_pixel_curves(benchmark: Any, side: int, way: Callable[..., Curves]) -> None:
    maps, truths = batch(N_MAPS, side)
    expected = fused(maps, truths)
    benchmark.group = f"IoP, FPR, FNR, IoU at 1001 thresholds, {N_MAPS} maps of {side} x {side}"
    slow = way in (counting_loop, loop_over_thresholds)
    found = benchmark.pedantic(way, (maps, truths), rounds=1) if slow else benchmark(way, maps, truths)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_pixel_tallies_of_a_test_set(benchmark: Any) -> None:
    maps, truths = batch(128, 224)

    def tallies() -> int:
        return sum(int(pixel_histograms(maps[i % 128], truths[i % 128])[0].sum()) for i in range(N_TEST))

    benchmark.group = f"pixel tallies of {N_TEST} maps of 224 x 224"
    assert benchmark(tallies) == N_TEST * 56 * 56
