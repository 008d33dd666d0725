"""Quantities of one map that need no threshold, kept in the tally so that later metrics need no network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class SoftCounts:
    """What `soft_counts` gives for one image.

    Attributes:
        maximum: the highest score.
        sum_inside, sum_outside: sums of the scores inside and outside the ground truth.
        spread_inside, spread_outside: sums of the squared deviations from the mean of their side.
        pointing: chance that a highest-scoring pixel, drawn evenly among ties, lies in the ground truth.
        rank_accuracy: share of the |G| highest-scoring pixels that lie in the ground truth G; where pixels
            tie for the last places, its expected value under an even draw.

    A blank map (all zero) found nothing: `pointing` and `rank_accuracy` are 0. A positive constant is an
    ordinary map and gets |G| / n_pixels for both. Without ground truth both are NaN.
    """

    maximum: float
    sum_inside: float
    sum_outside: float
    spread_inside: float
    spread_outside: float
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
        spread_inside=_spread(within),
        spread_outside=_spread(outside),
        pointing=_top_share(flat, within, maximum, 1),
        rank_accuracy=_top_share(flat, within, maximum, within.size),
    )


def contrast_to_noise(sums: tuple[Float, Float], spreads: tuple[Float, Float], areas: tuple[Float, Float]) -> Float:
    """|mean inside - mean outside| / sqrt(variance inside + variance outside), one value an image.

    Args:
        sums, spreads: inside and outside, (N,) each, as in `SoftCounts`. areas: pixels inside and outside, (N,).

    Returns:
        float64 (N,): 0 where the means are equal, infinite where they differ and both sides are constant, NaN
        (undefined) where a side has no pixel.

    Source: Boecking et al., Making the Most of Text Semantics to Improve Biomedical Vision-Language Processing,
    ECCV 2022, with population variances.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        means = [total / area for total, area in zip(sums, areas, strict=True)]
        variances = [spread / area for spread, area in zip(spreads, areas, strict=True)]
        difference = np.abs(means[0] - means[1])
        ratio = difference / np.sqrt(variances[0] + variances[1])
    return np.where(difference == 0, 0.0, ratio)


def relevance_mass(sum_inside: Float, sum_outside: Float) -> Float:
    """Share of the map's total that lies in the ground truth, (N,); 0 for a blank map.

    Source: relevance mass accuracy, Arras et al., CLEVR-XAI, Information Fusion 2022.
    """
    total = np.asarray(sum_inside + sum_outside, dtype=np.float64)
    return np.divide(sum_inside, total, out=np.zeros_like(total), where=total > 0)


def _spread(values: Float) -> float:
    """Two passes, and exactly 0 for a constant: a difference of large sums would leave rounding behind."""
    if values.size == 0 or values.min() == values.max():
        return 0.0
    return float(np.square(values - values.mean()).sum())


def _top_share(scores: Float, within: Float, maximum: float, count: int) -> float:
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
