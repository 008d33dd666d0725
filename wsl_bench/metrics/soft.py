"""Quantities of one map that need no threshold, kept in the tally so that later metrics need no network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SoftCounts:
    """What `soft_counts` gives for one image.

    Attributes:
        maximum: the highest score.
        sum_inside, sum_outside: sums of the scores inside and outside the ground truth.
        squares_inside, squares_outside: sums of the squared scores.
        pointing: chance that a highest-scoring pixel, drawn evenly among ties, lies in the ground truth.
        rank_accuracy: share of the |G| highest-scoring pixels that lie in the ground truth G; where pixels
            tie for the last places, its expected value under an even draw.

    A blank map (all zero) found nothing: `pointing` and `rank_accuracy` are 0. A positive constant is an
    ordinary map and gets |G| / n_pixels for both. Without ground truth both are NaN.
    """

    maximum: float
    sum_inside: float
    sum_outside: float
    squares_inside: float
    squares_outside: float
    pointing: float
    rank_accuracy: float


def soft_counts(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> SoftCounts:
    """The threshold-free quantities of one image.

    Args:
        scores: float32 (H, W), finite and not negative.
        truth: bool (H, W).

    Raises:
        ValueError: different shapes, an empty map, or scores that are not finite or negative.

    Sources: pointing game, Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016 (ties as
    an expected value); relevance rank accuracy, Arras et al., CLEVR-XAI, Information Fusion 2022.
    """
    if scores.shape != truth.shape or truth.dtype != np.bool_ or scores.size == 0:
        raise ValueError(f"truth: expected bool {scores.shape} like the scores, found {truth.dtype} {truth.shape}")
    flat, inside = scores.astype(np.float64).reshape(-1), truth.reshape(-1)
    low, maximum = float(flat.min()), float(flat.max())
    if not (low >= 0 and np.isfinite(maximum)):
        raise ValueError(f"scores: expected finite values from 0 up, found [{low:.9g}, {maximum:.9g}]")
    within, outside = flat[inside], flat[~inside]
    return SoftCounts(
        maximum=maximum,
        sum_inside=float(within.sum()),
        sum_outside=float(outside.sum()),
        squares_inside=float(np.square(within).sum()),
        squares_outside=float(np.square(outside).sum()),
        pointing=_top_share(flat, within, maximum, 1),
        rank_accuracy=_top_share(flat, within, maximum, within.size),
    )


def _top_share(scores: NDArray[np.float64], within: NDArray[np.float64], maximum: float, count: int) -> float:
    """Expected share of the `count` highest scores that are `within` the truth, ties drawn evenly."""
    if within.size == 0:
        return float("nan")
    if maximum == 0:
        return 0.0
    last = maximum if count == 1 else np.partition(scores, scores.size - count)[scores.size - count]
    sure = np.count_nonzero(scores > last)
    tied = np.count_nonzero(scores == last)
    found = np.count_nonzero(within > last) + (count - sure) * np.count_nonzero(within == last) / tied
    return float(found / count)
