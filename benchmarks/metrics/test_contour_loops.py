"""Box curves beside an OpenCV loop over thresholds that does what wsolevaluation does, as shipped and thinned out.

That evaluator quantises maps to 8 bits, so its 1000 thresholds are at most 256 distinct ones; `distinct` makes the
contours once for each. Its `largest` mode finds all contours too, and then keeps one.
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


def contour_loop(scores: NDArray[np.float32], every: bool, distinct: bool) -> Floats:
    """Best IoU with a ground-truth box at each threshold."""
    image = (scores * 255).astype(np.uint8)[..., None]
    cuts = [int(t * int(image.max())) for t in np.arange(0, 1, 0.001)]
    if distinct:
        cuts = sorted(set(cuts))
    boxes, counts = [], []
    for cut in cuts:
        _, binary = cv2.threshold(image, cut, 255, cv2.THRESH_BINARY)
        contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        if contours and not every:
            contours = [max(contours, key=cv2.contourArea)]
        found = [cv2.boundingRect(contour) for contour in contours] or [(0, 0, 0, 0)]
        boxes.append([(x, y, min(x + w, SIDE - 1), min(y + h, SIDE - 1)) for x, y, w, h in found])
        counts.append(len(found))
    corners = np.array([box for group in boxes for box in group], dtype=np.float64)
    best = ious(corners).max(axis=1)
    return np.maximum.reduceat(best, np.concatenate([[0], np.cumsum(counts)[:-1]]))


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


@pytest.mark.parametrize(
    "way", ["ours", "opencv all", "opencv all distinct", "opencv largest", "opencv largest distinct"]
)
@pytest.mark.parametrize("kind", ["smooth", "smoother", "noisy"])
def test_boxes_at_every_threshold(benchmark: Any, kind: str, way: str) -> None:
    cv2.setNumThreads(1)
    scores = score_map(kind)
    ours = box_curves(scores, BOXES)
    benchmark.group = f"boxes at every threshold, {kind}, {SIDE} x {SIDE}"
    if way == "ours":  # one call gives the best of all components and of the largest, and the hits
        benchmark(box_curves, scores, BOXES)
        return
    rounds = 1 if kind == "noisy" else 5
    options = {"every": "all" in way, "distinct": "distinct" in way}
    found = benchmark.pedantic(contour_loop, (scores,), options, rounds=rounds)
    assert len(found) == 1000 or options["distinct"]
    if kind != "noisy":  # in noise the holes, boxes of their own over there, can fit better than any component
        # Other rounding and the +1 convention: alike, not equal (equality: tests/metrics/test_wsolevaluation.py).
        reference = ours.iou_any if options["every"] else ours.iou_largest
        assert abs(found.max() - reference.max()) < 0.1
