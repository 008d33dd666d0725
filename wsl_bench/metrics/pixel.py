"""Pixel metrics at every threshold from one pass over the map.

Notation of one image: P(t) the pixels with score >= t, G the ground truth, TP = |P and G|, FP = |P and not
G|. The metric functions take counts of any shapes that broadcast and give float64; whether they mean one
image or a pool of images is decided by the counts they are given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsl_bench.metrics.grid import N_THRESHOLDS, flat_scores, out_of_range

Float = NDArray[np.float64]


def pixel_histograms(
    scores: NDArray[np.float32], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """How many pixels lie in each threshold bin, inside and outside the ground truth.

    Args:
        scores: float32 (H, W) in [0, 1].
        truth: bool (H, W).

    Returns:
        inside, outside: uint32 (1001,) each; entry k counts the pixels whose bin (`grid.threshold_bins`) is
            k.

    Raises:
        ValueError: different shapes, another dtype, scores not finite or outside [0, 1].
    """
    # Here and not at the top, so that reading a tally does not import numba.
    from wsl_bench.metrics import _pixel_kernels

    if scores.shape != truth.shape or truth.dtype != np.bool_:
        raise ValueError(f"truth: expected bool {scores.shape} like the scores, found {truth.dtype} {truth.shape}")
    flat = flat_scores(scores)
    both = np.zeros((2, N_THRESHOLDS), dtype=np.uint32)
    if not _pixel_kernels.histograms(flat, np.require(truth.reshape(-1), requirements=["C", "W"]), both):
        raise out_of_range(flat)
    return both[1], both[0]


def at_least(counts: NDArray[Any]) -> NDArray[np.int64]:
    """The number at or above each bin, from the number in each bin: (..., 1001) -> (..., 1001)."""
    return np.cumsum(counts[..., ::-1], axis=-1, dtype=np.int64)[..., ::-1]


def curves_from_histograms(
    inside: NDArray[np.integer[Any]], outside: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """TP and FP in pixels at every threshold, int64 (..., 1001), from the two histograms (..., 1001)."""
    return at_least(inside), at_least(outside)


def iop(tp: ArrayLike, fp: ArrayLike) -> Float:
    """Intersection over prediction, TP / |P| (pixel precision); 0 where nothing is predicted."""
    tp, fp = _floats(tp, fp)
    return _ratio(tp, tp + fp, if_empty=0.0)


def fpr(fp: ArrayLike, truth_area: ArrayLike, n_pixels: ArrayLike) -> Float:
    """False positive rate, FP / |not G|; NaN (undefined) where the truth covers the whole image."""
    fp, area, total = _floats(fp, truth_area, n_pixels)
    return _ratio(fp, total - area, if_empty=np.nan)


def fnr(tp: ArrayLike, truth_area: ArrayLike) -> Float:
    """False negative rate, |G and not P| / |G|; 1 where nothing is predicted, NaN where G is empty."""
    tp, area = _floats(tp, truth_area)
    return _ratio(area - tp, area, if_empty=np.nan)


def iou(tp: ArrayLike, fp: ArrayLike, truth_area: ArrayLike) -> Float:
    """Intersection over union, TP / (|G| + FP); 0 where both are empty."""
    tp, fp, area = _floats(tp, fp, truth_area)
    return _ratio(tp, area + fp, if_empty=0.0)


def dice(tp: ArrayLike, fp: ArrayLike, truth_area: ArrayLike) -> Float:
    """Dice coefficient, 2 TP / (|P| + |G|); 0 where both are empty."""
    tp, fp, area = _floats(tp, fp, truth_area)
    return _ratio(2 * tp, tp + fp + area, if_empty=0.0)


def pixel_ap(tp: ArrayLike, fp: ArrayLike, truth_area: ArrayLike) -> Float:
    """Average precision over pixels, one value an image.

    The sum over thresholds t_1 > t_2 > ... of Prec(t_l) * (Rec(t_l) - Rec(t_(l-1))) with Rec(t_0) = 0, where
    Prec = TP / (TP + FP) and Rec = TP / |G|; a threshold at which nothing is predicted contributes nothing.
    At threshold 0 every pixel is predicted, so the recall reaches 1 and a blank or constant map gets |G| /
    n_pixels, which is chance.

    Args:
        tp, fp: (..., 1001) counts at every threshold.
        truth_area: (...) pixels of the ground truth.

    Returns:
        float64 (...); NaN (undefined) where the ground truth is empty.

    Source: Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020 (PxAP),
    applied to each image by itself.
    """
    tp, fp, area = _floats(tp, fp, truth_area)
    found = tp - np.concatenate([tp[..., 1:], np.zeros_like(tp[..., :1])], axis=-1)
    return _ratio((iop(tp, fp) * found).sum(axis=-1), area, if_empty=np.nan)


def pxap(tp: ArrayLike, fp: ArrayLike, truth_area: ArrayLike) -> float:
    """Pooled pixel average precision: `pixel_ap` of the counts summed over images.

    Args:
        tp, fp: (N, 1001) counts at every threshold.
        truth_area: (N,) pixels of the ground truth.

    Returns:
        PxAP; NaN (undefined) if no image has ground truth.

    Source: Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020.
    """
    pooled = (np.sum(tp, axis=0), np.sum(fp, axis=0), np.sum(truth_area))
    return float(pixel_ap(*pooled))


def _floats(*counts: ArrayLike) -> tuple[Float, ...]:
    """Counts as float64, because unsigned counts would wrap around in a difference."""
    return tuple(np.asarray(count, dtype=np.float64) for count in counts)


def _ratio(numerator: Float, denominator: Float, *, if_empty: float) -> Float:
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out: Float = np.full(numerator.shape, if_empty)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
