"""Box curves at 1001 thresholds: one sweep over all components beside labelling at every threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from wsl_bench.metrics.box import box_curves
from wsl_bench.metrics.grid import THRESHOLDS

EIGHT = np.ones((3, 3), dtype=np.bool_)


def sweep(scores: NDArray[np.float32], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    return box_curves(scores, boxes).iou_any


def label_every_threshold(scores: NDArray[np.float32], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Only the best IoU of any component: less than the sweep gives, so the comparison favours this loop."""
    best = np.zeros((len(boxes), 1001))
    left, top = boxes[:, 0], boxes[:, 1]
    right, bottom = left + boxes[:, 2], top + boxes[:, 3]
    for k, t in enumerate(THRESHOLDS):
        found = ndimage.find_objects(ndimage.label(scores >= t, structure=EIGHT)[0])
        if not found:
            continue
        edges = np.array([(c.start, r.start, c.stop, r.stop) for r, c in found], dtype=np.float64)[:, :, None]
        width = np.minimum(edges[:, 2], right) - np.maximum(edges[:, 0], left)
        height = np.minimum(edges[:, 3], bottom) - np.maximum(edges[:, 1], top)
        both = np.maximum(width, 0) * np.maximum(height, 0)
        area = (edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])
        best[:, k] = (both / (area + boxes[:, 2] * boxes[:, 3] - both)).max(axis=0)
    return best


def score_map(kind: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    scores = np.random.default_rng(0).random(shape)
    if kind == "smooth":
        scores = ndimage.gaussian_filter(scores, shape[0] / 16)
        scores = (scores - scores.min()) / np.ptp(scores)
    return scores.astype(np.float32)


@pytest.mark.parametrize("shape", [(64, 64), (240, 320)], ids=["64x64", "240x320"])
@pytest.mark.parametrize("kind", ["smooth", "noisy"])
@pytest.mark.parametrize("way", [sweep, label_every_threshold], ids=lambda way: way.__name__)
def test_box_curves(benchmark: Any, kind: str, shape: tuple[int, int], way: Callable[..., Any]) -> None:
    height, width = shape
    scores = score_map(kind, shape)
    boxes = np.array([[0.1, 0.2, 0.3, 0.3], [0.5, 0.55, 0.25, 0.2]]) * [width, height, width, height]
    expected = sweep(scores, boxes)
    benchmark.group = f"box curves, {kind}, {height} x {width}"
    # The loop takes up to half a minute a map: once is enough.
    found = benchmark(way, scores, boxes) if way is sweep else benchmark.pedantic(way, (scores, boxes), rounds=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (240, 320)], ids=["64x64", "240x320"])
@pytest.mark.parametrize("kind", ["smooth", "noisy"])
def test_components_of_a_healthy_image(benchmark: Any, kind: str, shape: tuple[int, int]) -> None:
    benchmark.group = f"components only, {kind}, {shape[0]} x {shape[1]}"
    curves = benchmark(box_curves, score_map(kind, shape), np.zeros((0, 4)))
    assert curves.components[0] == 1
