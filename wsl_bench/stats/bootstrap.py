"""The estimand *these trainings*: seeds fixed, patients resampled (cluster bootstrap)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wsl_bench.stats.crossed import group_codes

Float = npt.NDArray[np.float64]


def cluster_weights(
    groups: Sequence[object] | npt.NDArray[np.generic], n_resamples: int, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    """How often each image comes in each resample of patients.

    Args:
        groups: (N,) patients; all images of a patient come together.

    Returns:
        (n_resamples, N) counts; C patients are drawn with replacement out of C.
    """
    codes = group_codes(groups)
    n_groups = int(codes.max()) + 1
    counts = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_resamples)
    return counts.astype(np.uint16)[:, codes]


def bootstrap_mean(values: npt.ArrayLike, weights: npt.NDArray[np.generic]) -> Float:
    """(B,) resampled means of the seed mean.

    Args:
        values: (S, N). weights: (B, N) of `cluster_weights`.
    """
    seed_mean = np.asarray(values, np.float64).mean(0)
    w = weights.astype(np.float64)
    return np.asarray(w @ seed_mean / w.sum(1), np.float64)


def bootstrap_auc(labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.NDArray[np.generic]) -> Float:
    """(B,) resampled AUC, mean over seeds; ties count one half; NaN where a class is missing.

    Args:
        labels: (N,) 0 or 1. scores: (S, N). weights: (B, N).
    """
    positive = np.asarray(labels) == 1
    w = weights.astype(np.float64)
    each = [_weighted_auc(positive, row, w) for row in np.asarray(scores, np.float64)]
    return np.asarray(np.mean(each, axis=0), np.float64)


def bootstrap_pxap(
    tp: npt.NDArray[np.integer], fp: npt.NDArray[np.integer], truth_area: npt.ArrayLike,
    weights: npt.NDArray[np.generic],
) -> Float:  # fmt: skip
    """(B,) resampled pooled pixel average precision, mean over seeds.

    Args:
        tp, fp: (S, N, T) pixels predicted inside and outside the ground truth, thresholds ascending.
        truth_area: (N,). weights: (B, N).
    """
    w = weights.astype(np.float64)
    area = w @ np.asarray(truth_area, np.float64)
    each = [
        average_precision(w @ t.astype(np.float64), w @ f.astype(np.float64), area) for t, f in zip(tp, fp, strict=True)
    ]
    return np.asarray(np.mean(each, axis=0), np.float64)


def average_precision(tp: Float, fp: Float, area: Float) -> Float:
    """Area under precision over recall for summed counts.

    Args:
        tp, fp: (B, T), thresholds ascending. area: (B,).

    Returns:
        (B,) sum over thresholds, descending, of precision times the gain in recall (Choe et al. 2020).
    """
    predicted = tp + fp
    precision = np.divide(tp, predicted, out=np.zeros_like(tp), where=predicted > 0)
    gain = -np.diff(tp, axis=1, append=0)
    return np.asarray((precision * gain).sum(1) / area, np.float64)


def percentile_interval(replicates: npt.ArrayLike, level: float = 0.95) -> tuple[float, float, int]:
    """Percentile interval of bootstrap replicates: low, high, and how many were not defined (NaN)."""
    values = np.asarray(replicates, np.float64)
    used = values[~np.isnan(values)]
    if not len(used):
        return float("nan"), float("nan"), len(values)
    low, high = np.quantile(used, [0.5 - level / 2, 0.5 + level / 2], method="linear")
    return float(low), float(high), len(values) - len(used)


def _weighted_auc(positive: npt.NDArray[np.bool_], scores: Float, w: Float) -> Float:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    up = np.add.reduceat((w * positive)[:, order], starts, axis=1)
    down = np.add.reduceat((w * ~positive)[:, order], starts, axis=1)
    below = np.cumsum(down, axis=1) - 0.5 * down
    pairs = up.sum(1) * down.sum(1)
    total = (up * below).sum(1)
    auc: Float = np.divide(total, pairs, out=np.full(len(w), np.nan), where=pairs > 0)
    return auc
