"""Compatibility mode: MaxBoxAcc and PxAP as clovaai/wsolevaluation computes them, to compare with its tables.

That is the evaluator of Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020.
Its numbers differ from those of `box` and `pixel`, on purpose:

- For boxes a map is cut to 8 bits, and each of the 1000 thresholds is relative to its highest 8-bit score.
- Boxes are those of contours, so the border of a hole is a box too; where nothing is predicted the box is the
  pixel at the origin, which may overlap the ground truth.
- Corners are inclusive whole numbers and a box has (x1 - x0 + 1) * (y1 - y0 + 1) pixels, but x1 is x + width.
- The threshold of MaxBoxAcc is the best one on the very images that are scored.

Everything is computed in float64, the only type it takes; float32 scores are widened first. The contours are
OpenCV's (`pip install "wsl-bench[compat]"`). Checked against the evaluator at commit b98c7d1.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsl_bench.errors import UsageError
from wsl_bench.metrics.truth import checked_boxes

Float = NDArray[np.float64]

# As it makes them: i * 0.001 in float64, which is not always the float64 number nearest to i/1000.
CAM_THRESHOLDS: Float = np.arange(0, 1, 0.001)
CAM_THRESHOLDS.flags.writeable = False
N_CAM_THRESHOLDS = 1000
# The bins [0, 0.001) .. [0.999, 1), [1, 2), [2, 3].
_BIN_EDGES: Float = np.append(CAM_THRESHOLDS, [1.0, 2.0, 3.0])
N_BINS = 1002
# IoU in percent.
V2_LEVELS = (30, 50, 70)


def min_max_normalized(scores: NDArray[np.floating[Any]]) -> Float:
    """A raw map stretched to [0, 1]: (score - min) / max of what is left.

    wsolevaluation does this to each map before its evaluator sees it, after resizing it to the image; the
    evaluator itself only checks that the scores lie in [0, 1].

    Args:
        scores: (H, W) of any float type and any range.

    Returns:
        float64 (H, W) in [0, 1]; all 0 where the map is constant or holds a NaN, as there.

    Raises:
        ValueError: scores not two-dimensional, empty or with an infinity.
    """
    raw = np.asarray(scores, dtype=np.float64)
    _check_map(raw)
    if np.isinf(raw).any():
        raise ValueError("scores: expected finite numbers, found infinity")
    if np.isnan(raw).any() or raw.min() == raw.max():
        return np.zeros_like(raw)
    lifted = raw - raw.min()
    out: Float = lifted / lifted.max()
    return out


def best_box_iou(scores: NDArray[np.floating[Any]], boxes: NDArray[np.float64], *, all_contours: bool) -> Float:
    """Highest IoU of a predicted box with a ground-truth box, at each of the 1000 thresholds of one image.

    At threshold t the pixels with an 8-bit score > int(t * highest 8-bit score) are predicted. The boxes are
    the bounding rectangles x, y, w, h of OpenCV's contours, holes included, with the inclusive corners x, y,
    min(x + w, W - 1), min(y + h, H - 1); without a contour the one box is the pixel (0, 0).

    Ground-truth boxes get their corners by the same rule: x, y, x + w, y + h, clipped to the image and cut to
    whole pixels. So do the boxes in its metadata (CUB's 60 27 325 304 is 60,27,385,331 there), and it cuts
    them like that when it scales them to the map. A box that does not reach the image overlaps nothing.

    Args:
        scores: float32 or float64 (H, W) in [0, 1]. Its own maps are float64: where one was rounded to
            float32, a score just below k/255 may have become k instead of k - 1 in 8 bits.
        boxes: (K, 4) x, y, width, height in pixels of the map, K >= 1.
        all_contours: False takes only the contour with the greatest area (MaxBoxAcc), among equals the first
            in OpenCV's order; True takes all of them (MaxBoxAccV2).

    Returns:
        float64 (1000,), entry i for the threshold CAM_THRESHOLDS[i].

    Raises:
        UsageError: OpenCV is not installed.
        ValueError: scores not two-dimensional, empty, of another dtype, not finite or outside [0, 1]; no box,
            or boxes of another shape, not finite or with a negative size.

    Source: Choe et al., CVPR 2020; clovaai/wsolevaluation, evaluation.py.
    """
    checked = _checked_scores(scores)
    truths = _inclusive_corners(checked_boxes(boxes), *checked.shape)
    cv2 = require_opencv()
    image = np.ascontiguousarray((checked * 255).astype(np.uint8))
    # At most 255 different cuts: the contours of each are found once.
    cuts, cut_of_threshold = np.unique((CAM_THRESHOLDS * float(image.max())).astype(np.int64), return_inverse=True)
    best = [_best_iou(_predicted_boxes(cv2, image, int(cut), all_contours), truths) for cut in cuts]
    return np.array(best, dtype=np.float64)[cut_of_threshold]


def max_box_acc(ious: NDArray[np.float64], level: float) -> float:
    """MaxBoxAcc: percent of the images whose IoU reaches the level, at the threshold where most do.

    With `best_box_iou(..., all_contours=False)` and level 50 this is the MaxBoxAcc of the paper (V1).

    Args:
        ious: (N, 1000), one row of `best_box_iou` an image.
        level: IoU in percent, from 1 to 100; an IoU equal to it counts.

    Returns:
        Percent; NaN (undefined) without an image.

    Raises:
        ValueError: ious of another shape; a level outside [1, 100].

    Source: Choe et al., CVPR 2020.
    """
    if ious.ndim != 2 or ious.shape[1] != N_CAM_THRESHOLDS:
        raise ValueError(f"ious: expected the shape (N, {N_CAM_THRESHOLDS}), found {ious.shape}")
    if not 1 <= level <= 100:
        raise ValueError(f"level: expected an IoU in percent from 1 to 100, found {level!r}")
    if len(ious) == 0:
        return float("nan")
    correct = (ious >= level / 100).sum(axis=0)
    return float((correct * 100.0 / len(ious)).max())


def max_box_acc_v2(ious: NDArray[np.float64]) -> float:
    """MaxBoxAccV2: the mean of `max_box_acc` at the levels 30, 50 and 70, each at its own best threshold.

    Args:
        ious: (N, 1000), one row of `best_box_iou(..., all_contours=True)` an image.

    Returns:
        Percent; NaN (undefined) without an image.

    Raises:
        ValueError: ious of another shape.

    Source: Choe et al., Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and Datasets,
    TPAMI 2022; the options multi_contour_eval and multi_iou_eval of clovaai/wsolevaluation.
    """
    return float(np.mean([max_box_acc(ious, level) for level in V2_LEVELS]))


def score_histograms(
    scores: NDArray[np.floating[Any]], mask: NDArray[np.bool_], ignore: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """How many pixels lie in each of its bins, inside and outside the mask.

    Args:
        scores: float32 or float64 (H, W) in [0, 1].
        mask: bool (H, W), the object.
        ignore: bool (H, W), pixels that count neither inside nor outside; those of the mask count anyhow.

    Returns:
        int64 (2, 1002): the pixels inside the mask, those outside. Bin i is [CAM_THRESHOLDS[i],
        CAM_THRESHOLDS[i + 1]), bin 999 ends at 1, bin 1000 holds the scores of exactly 1 and bin 1001 nothing.

    Raises:
        ValueError: scores not two-dimensional, empty, of another dtype, not finite or outside [0, 1]; a mask
            of another shape or dtype.

    Source: Choe et al., CVPR 2020; clovaai/wsolevaluation, evaluation.py.
    """
    checked = _checked_scores(scores)
    for name, pixels in (("mask", mask), ("ignore", ignore)):
        if pixels is not None and (pixels.shape != checked.shape or pixels.dtype != np.bool_):
            raise ValueError(f"{name}: expected bool {checked.shape}, found {pixels.dtype} {pixels.shape}")
    outside = ~mask if ignore is None else ~(mask | ignore)
    counts = [np.histogram(checked[pixels], bins=_BIN_EDGES)[0] for pixels in (mask, outside)]
    return np.array(counts, dtype=np.int64)


def pxap(inside: NDArray[np.integer[Any]], outside: NDArray[np.integer[Any]]) -> float:
    """PxAP: the area under the precision-recall curve of all pixels pooled, in percent.

    The sum over the bins from the highest score down of precision * gain in recall; a bin down to which no
    pixel lies contributes nothing.

    Args:
        inside, outside: (..., 1002) counts of `score_histograms`, such as (N, 1002); summed over the leading
            axes.

    Returns:
        Percent; NaN (undefined) if no pixel is inside, where wsolevaluation stops with an error.

    Raises:
        ValueError: counts of another last axis.

    Source: Choe et al., CVPR 2020; clovaai/wsolevaluation, evaluation.py.
    """
    tp, fp = (_at_least(name, counts) for name, counts in (("inside", inside), ("outside", outside)))
    if tp[-1] == 0:
        return float("nan")
    predicted = tp + fp
    # Its sum leaves out the empty bins and the highest bin, which is always empty.
    used = predicted[1:] > 0
    gains = np.diff(tp / tp[-1])[used]
    return float((tp[1:][used] / predicted[1:][used] * gains).sum() * 100)


def _at_least(name: str, counts: NDArray[np.integer[Any]]) -> Float:
    """Pixels in each bin or above, pooled, from the highest bin down: (1002,)."""
    if counts.ndim == 0 or counts.shape[-1] != N_BINS:
        raise ValueError(f"{name}: expected the shape (..., {N_BINS}), found {counts.shape}")
    pooled = counts.reshape(-1, N_BINS).sum(axis=0, dtype=np.float64)
    return np.cumsum(pooled[::-1])


def require_opencv() -> ModuleType:
    """OpenCV, imported here because only this file needs it; UsageError where it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise UsageError(
            f'the compatibility mode for wsolevaluation needs OpenCV: pip install "wsl-bench[compat]" ({error}).'
        ) from error
    return cv2


def _check_map(scores: NDArray[np.floating[Any]]) -> None:
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"scores: expected a map (H, W) with at least one pixel, found the shape {scores.shape}")


def _checked_scores(scores: NDArray[np.floating[Any]]) -> Float:
    """The scores as float64 (H, W); ValueError unless they are float32 or float64 in [0, 1]."""
    if scores.dtype not in (np.float32, np.float64):
        raise ValueError(f"scores: expected float32 or float64, found {scores.dtype}")
    _check_map(scores)
    if not np.isfinite(scores).all():
        raise ValueError("scores: expected finite values in [0, 1], found NaN or infinity")
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError(f"scores: expected values in [0, 1], found [{scores.min():.9g}, {scores.max():.9g}]")
    return scores.astype(np.float64)


def _inclusive_corners(boxes: NDArray[np.float64], height: int, width: int) -> NDArray[np.int64]:
    """x0, y0, x1, y1 of the ground-truth boxes that reach the image, by the rule of `best_box_iou`."""
    if len(boxes) == 0:
        raise ValueError("boxes: expected at least one, found none")
    first, last = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    # A box of no width at 0 stays: its corners there are those of one pixel.
    outside = (first >= [width, height]) | ((first < 0) & (last <= 0))
    corners: Float = np.clip(np.concatenate([first, last], axis=1), 0, [width - 1, height - 1] * 2)
    return corners[~outside.any(axis=1)].astype(np.int64)


def _predicted_boxes(cv2: ModuleType, image: NDArray[np.uint8], cut: int, all_contours: bool) -> NDArray[np.int64]:
    """x0, y0, x1, y1 of the contours of {image > cut}, all or the greatest: int64 (n, 4), n >= 1."""
    _, binary = cv2.threshold(image, cut, 255, cv2.THRESH_BINARY)
    contours: Iterable[Any] = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    if not contours:
        return np.zeros((1, 4), dtype=np.int64)
    if not all_contours:
        contours = [max(contours, key=cv2.contourArea)]
    corners = np.array([cv2.boundingRect(contour) for contour in contours], dtype=np.int64)
    height, width = image.shape
    corners[:, 2:] = np.minimum(corners[:, :2] + corners[:, 2:], [width - 1, height - 1])
    return corners


def _best_iou(found: NDArray[np.int64], truths: NDArray[np.int64]) -> float:
    """The highest IoU of any of (n, 4) boxes with any of (K, 4), corners inclusive; 0 where K = 0."""
    if len(truths) == 0:
        return 0.0
    a, b = found[:, None], truths[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    both = np.maximum(sides, 0).prod(axis=-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2] + 1).prod(axis=-1) for box in (a, b))
    return float((both / (area_a + area_b - both)).max())
