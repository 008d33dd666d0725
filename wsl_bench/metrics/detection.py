"""Detections: the components of a map at one threshold, each a box with a score, and what they find.

A detection's score is the maximum of the map within its component. Detections of a whole split are ranked by
score; those of equal score enter together, as no threshold could part them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

# As in COCO: an image keeps at most this many detections, the highest scores.
MOST_DETECTIONS = 100
# False positives an image at which the sensitivity is averaged (LUNA16, CAMELYON16).
FROC_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Detections:
    """The D detections of one image, highest score first.

    Attributes:
        boxes: int32 (D, 4) x, y, width, height in pixels.
        scores: float32 (D,).
    """

    boxes: NDArray[np.int32]
    scores: NDArray[np.float32]


def detect(scores: NDArray[np.float32], threshold: np.float32) -> Detections:
    """The 8-connected components of {score >= threshold}.

    Args:
        scores: float32 (H, W) in [0, 1].
        threshold: of the grid (`grid.THRESHOLDS`), above 0.

    Returns:
        At most `MOST_DETECTIONS`; among equal scores the one whose first pixel comes first in raster order.
    """
    from scipy import ndimage  # here, because it takes 0.3 s to import

    components, n = ndimage.label(scores >= threshold, structure=np.ones((3, 3), dtype=np.bool_))
    if n == 0:
        return Detections(np.zeros((0, 4), dtype=np.int32), np.zeros(0, dtype=np.float32))
    maxima = np.zeros(n, dtype=np.float32)
    lit = np.flatnonzero(components)
    np.maximum.at(maxima, components.reshape(-1)[lit] - 1, scores.reshape(-1)[lit])  # ndimage.maximum sorts all pixels
    # scipy numbers components by their first pixel.
    kept = np.argsort(-maxima, kind="stable")[:MOST_DETECTIONS]
    slices = ndimage.find_objects(components)
    boxes = [
        (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        for rows, columns in (slices[i] for i in kept)
    ]
    return Detections(np.array(boxes, dtype=np.int32), maxima[kept])


def true_detections(
    image: NDArray[np.int32],
    boxes: NDArray[np.int32],
    scores: NDArray[np.float32],
    truth_image: NDArray[np.int32],
    truth_boxes: Float,
    levels: Sequence[float],
) -> NDArray[np.bool_]:
    """Which detections find a ground-truth box that none before them has found.

    In descending order of score, ties in the order given, each detection takes the free ground-truth box of its
    image with the highest IoU, the first among equals, if that is at least the level (as COCO matches: Lin et
    al., ECCV 2014).

    Args:
        image, boxes, scores: (D,), (D, 4) x, y, width, height, (D,) of a split's detections.
        truth_image, truth_boxes: (B,), (B, 4) of its ground truth; box coordinates need not be whole.
        levels: IoUs that count as found, L of them, each matched by itself.

    Returns:
        bool (L, D), in the order of the input.
    """
    found = np.zeros((len(levels), len(scores)), dtype=np.bool_)
    free = np.ones((len(levels), len(truth_image)), dtype=np.bool_)
    own = {int(name): np.flatnonzero(truth_image == name) for name in np.unique(truth_image)}
    for d in np.argsort(-scores, kind="stable"):
        candidates = own.get(int(image[d]))
        if candidates is None:
            continue
        overlaps = _ious(boxes[d].astype(np.float64), truth_boxes[candidates])
        for which, level in enumerate(levels):
            left = np.where(free[which, candidates], overlaps, -1.0)
            best = int(left.argmax())
            if left[best] >= level:
                found[which, d] = True
                free[which, candidates[best]] = False
    return found


def average_precision(scores: NDArray[np.float32], found: NDArray[np.bool_], n_truth: int) -> float:
    """Area under the precision-recall curve, precision interpolated from the right (Pascal VOC 2010).

    Args:
        scores, found: (D,) of the detections of a split.
        n_truth: its ground-truth boxes.

    Returns:
        AP; NaN (undefined) without ground truth, 0 without detections.
    """
    if n_truth == 0:
        return float("nan")
    tp, fp = _curve(scores, found)
    recall = np.concatenate([[0.0], tp / n_truth])
    highest_onwards = np.maximum.accumulate((tp / (tp + fp))[::-1])[::-1]
    return float((np.diff(recall) * highest_onwards).sum())


def froc(scores: NDArray[np.float32], found: NDArray[np.bool_], n_truth: int, n_images: int) -> float:
    """Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives an image.

    The sensitivity at a rate is the highest that some score threshold reaches with at most so many false
    positives an image, 0 if none does.

    Args:
        scores, found: (D,) of the detections of a split. n_truth: its ground-truth boxes.
        n_images: its images, healthy ones included.

    Returns:
        NaN (undefined) without ground truth.

    Source: the free-response score of LUNA16 (Setio et al., Medical Image Analysis 2017).
    """
    if n_truth == 0:
        return float("nan")
    tp, fp = _curve(scores, found)
    reached = [tp[fp <= rate * n_images].max(initial=0.0) for rate in FROC_RATES]
    return float(np.mean(reached) / n_truth)


def _curve(scores: NDArray[np.float32], found: NDArray[np.bool_]) -> tuple[Float, Float]:
    """True and false detections with at least each distinct score, highest score first."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf) != 0)
    tp = np.cumsum(found[order], dtype=np.float64)[last]
    return tp, last + 1.0 - tp


def _ious(box: Float, truths: Float) -> Float:
    """(K,) IoU of one box with K others, all x, y, width, height."""
    low = np.maximum(box[:2], truths[:, :2])
    high = np.minimum(box[:2] + box[2:], truths[:, :2] + truths[:, 2:])
    both = np.maximum(high - low, 0).prod(axis=1)
    return np.asarray(both / (box[2] * box[3] + truths[:, 2] * truths[:, 3] - both), dtype=np.float64)
