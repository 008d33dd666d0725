"""Box curves beside an OpenCV loop over thresholds that does what wsolevaluation does.

`shipped` repeats what that evaluator repeats: the maximum of the map, and the best overlap of every box, are taken
anew for each threshold. `careful` takes them once. It quantises maps to 8 bits, so its 1000 thresholds are at most
256 distinct ones; `distinct` makes the contours once for each. Its `largest` mode finds all contours too, and keeps
one.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from wsl_bench.metrics.box import box_curves

SIDE = 224
BOXES = np.array([[0.1, 0.2, 0.3, 0.3], [0.5, 0.55, 0.25, 0.2]]) * SIDE
CORNERS = np.concatenate([BOXES[:, :2], BOXES[:, :2] + BOXES[:, 2:]], axis=1)
Floats = NDArray[np.float64]


def contour_loop(scores: NDArray[np.float32], every: bool, way: str) -> Floats:
    """Best IoU with a ground-truth box at each threshold."""
    image = (scores * 255).astype(np.uint8)[..., None]
    top = int(image.max())
    # That evaluator takes the maximum of the image anew for each threshold.
    cuts = [int(t * (int(np.max(image)) if way == "shipped" else top)) for t in np.arange(0, 1, 0.001)]
    if way == "distinct":
        cuts = sorted(set(cuts))
    boxes, counts = [], []
    for cut in cuts:
        _, binary = cv2.threshold(image, cut, 255, cv2.THRESH_BINARY)
        contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        if contours and not every:
            contours = [max(contours, key=cv2.contourArea)]
        found = [cv2.boundingRect(contour) for contour in contours] or [(0, 0, 0, 0)]
        boxes.append(np.array([(x, y, min(x + w, SIDE - 1), min(y + h, SIDE - 1)) for x, y, w, h in found]))
        counts.append(len(found))
    overlaps = ious(np.concatenate(boxes).astype(np.float64))
    ends = np.cumsum(counts)
    if way == "shipped":  # the best of each box with any ground truth is taken anew for each threshold, of all boxes
        return np.array([max(overlaps.max(axis=1)[end - n : end]) for end, n in zip(ends, counts, strict=True)])
    return np.maximum.reduceat(overlaps.max(axis=1), np.concatenate([[0], ends[:-1]]))


def ious(corners: Floats) -> Floats:
    low = np.maximum(corners[:, None, :2], CORNERS[:, :2])
    high = np.minimum(corners[:, None, 2:], CORNERS[:, 2:])
    both = np.maximum(high - low + 1, 0).prod(axis=2)
    areas = (corners[:, 2:] - corners[:, :2] + 1).prod(axis=1)
    return np.asarray(both / (areas[:, None] + (CORNERS[:, 2:] - CORNERS[:, :2] + 1).prod(axis=1) - both))


def score_map(kind: str) -> NDArray[np.float32]:
    """`smooth`: about 25 components at most; `smoother`: about 12; `noisy`: thousands."""
    scores = np.random.default_rng(0).random((SIDE, SIDE))
    if kind != "noisy":
        scores = ndimage.gaussian_filter(scores, {"smooth": 8, "smoother": 14}[kind])
        scores = (scores - scores.min()) / np.ptp(scores)
    return scores.astype(np.float32)


KINDS = ("smooth", "smoother", "noisy")
LOOPS = [
    (kind, contours, way)
    for kind in KINDS
    for contours in ("all", "largest")
    for way in ("shipped", "careful", "distinct")
    if (kind, contours, way) != ("noisy", "all", "shipped")  # minutes a map; once measured, in docs/benchmarks.md
]


@pytest.mark.parametrize("kind", KINDS)
def test_ours(benchmark: Any, kind: str) -> None:
    """One call gives the best of all components and of the largest, their number, and the hits."""
    benchmark.group = f"boxes at every threshold, {kind}, {SIDE} x {SIDE}"
    benchmark(box_curves, score_map(kind), BOXES)


@pytest.mark.parametrize(("kind", "contours", "way"), LOOPS, ids=["-".join(loop) for loop in LOOPS])
def test_opencv(benchmark: Any, kind: str, contours: str, way: str) -> None:
    cv2.setNumThreads(1)
    scores = score_map(kind)
    ours = box_curves(scores, BOXES)
    benchmark.group = f"boxes at every threshold, {kind}, {SIDE} x {SIDE}"
    found = benchmark.pedantic(contour_loop, (scores, contours == "all", way), rounds=1 if kind == "noisy" else 5)
    assert len(found) == 1000 or way == "distinct"
    if kind != "noisy":  # in noise the holes, boxes of their own over there, can fit better than any component
        # Other rounding and the +1 convention: alike, not equal (equality: tests/metrics/test_wsolevaluation.py).
        reference = ours.iou_any if contours == "all" else ours.iou_largest
        assert abs(found.max() - reference.max()) < 0.1
