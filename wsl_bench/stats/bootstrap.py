"""The estimand *these trainings*: seeds fixed, patients resampled (cluster bootstrap).

A resample is a row of weights, how often each image comes in it, so that a statistic of all
resamples is a product of matrices (Efron & Tibshirani 1993; clusters: Field & Welsh 2007).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from wsl_bench.jit import compiled, unchecked
from wsl_bench.stats.crossed import Float, Groups, check_level, check_values, group_codes, rounding

# Weights stay small integers; at most this many numbers (4 MiB) of them are float64 at a time.
BLOCK = 2**19


def cluster_weights(groups: Groups, n_resamples: int, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """How often each image comes in each resample of patients.

    Args:
        groups: (N,) patients; all images of a patient come together.
        rng: the same generator state gives the same weights.

    Returns:
        (n_resamples, N) counts; C patients are drawn with replacement out of C.
    """
    codes = group_codes(groups)
    if not codes.size:
        raise ValueError("groups: expected at least one image")
    n_groups = int(codes.max()) + 1
    counts = np.empty((n_resamples, n_groups), np.uint16)
    _draw(rng.integers(0, 2**64, n_resamples, dtype=np.uint64), counts)
    each_alone = np.array_equal(codes, np.arange(n_groups))
    return counts if each_alone else counts[:, codes]


def bootstrap_mean(values: npt.ArrayLike, weights: npt.NDArray[np.generic]) -> Float:
    """Resampled means of the seed mean: (w @ mean_s values) / sum(w).

    Args:
        values: (S, N).
        weights: (B, N) of `cluster_weights`.

    Returns:
        (B,) in the unit of the values.

    Raises:
        ValueError: wrong shapes or values that are not finite.
    """
    means: Float = bootstrap_means(check_values(values, weights.shape[1]).mean(0)[None], weights)[0]
    return means


def bootstrap_means(series: npt.ArrayLike, weights: npt.NDArray[np.generic]) -> Float:
    """Resampled means of many series on the same images, on the same resamples, in one matrix product.

    Args:
        series: (M, N), for instance the seed means of M methods or metrics.
        weights: (B, N) of `cluster_weights`.

    Returns:
        (M, B), each in the unit of its series.

    Raises:
        ValueError: wrong shapes or values that are not finite.
    """
    array = check_values(series, weights.shape[1], "series")
    columns = np.vstack([array, np.ones(array.shape[1])]).T  # the last product is the images drawn
    out = np.empty((len(array), len(weights)))
    for rows, w in _blocks(weights):
        sums = w @ columns
        out[:, rows] = (sums[:, :-1] / sums[:, -1:]).T
    return out


def bootstrap_auc(labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.NDArray[np.generic]) -> Float:
    """Resampled area under the ROC curve, mean over seeds; ties count one half.

    Args:
        labels: (N,) 0 or 1.
        scores: (S, N), higher means 1.
        weights: (B, N).

    Returns:
        (B,); NaN in resamples without one of the classes.

    Raises:
        ValueError: wrong shapes, other labels, or scores that are not finite.
    """
    array = check_values(scores, weights.shape[1], "scores")
    positive = check_labels(labels, array.shape[1])
    orders = [np.argsort(row, kind="stable") for row in array]
    out = np.zeros(len(weights))
    for rows, w in _blocks(weights):
        for order, row in zip(orders, array, strict=True):
            out[rows] += _weighted_auc(positive[order], row[order], w[:, order])
    return out / len(array)


def bootstrap_pxap(
    tp: npt.NDArray[np.integer],
    fp: npt.NDArray[np.integer],
    truth_area: npt.ArrayLike,
    weights: npt.NDArray[np.generic],
) -> Float:
    """Resampled pooled pixel average precision (see `average_precision`), mean over seeds.

    Args:
        tp, fp: (S, N, T) pixels predicted inside and outside the ground truth, thresholds ascending.
        truth_area: (N,) pixels of ground truth.
        weights: (B, N).

    Returns:
        (B,); NaN in resamples without a pixel of ground truth.

    Raises:
        ValueError: wrong shapes.
    """
    check_curves(tp, fp, truth_area, weights.shape[1])
    area = np.asarray(truth_area, np.float64)
    out = np.zeros(len(weights))
    for t, f in zip(tp, fp, strict=True):
        inside, outside = t.astype(np.float64), f.astype(np.float64)
        for rows, w in _blocks(weights):
            out[rows] += average_precision(w @ inside, w @ outside, w @ area)
    return out / len(tp)


def average_precision(tp: Float, fp: Float, area: Float) -> Float:
    """Area under precision over recall for summed counts (Choe et al. 2020, PxAP).

    Args:
        tp, fp: (B, T) pixels, thresholds ascending.
        area: (B,) pixels of ground truth.

    Returns:
        (B,) sum over thresholds l, descending, of Prec_l * (Rec_l - Rec_(l-1)), with Prec = tp / (tp + fp)
        and Rec = tp / area; nothing where nothing is predicted; NaN where there is no ground truth.
    """
    return ratio(_precision_by_gain(tp, fp), area)


def percentile_interval(replicates: npt.ArrayLike, level: float = 0.95) -> tuple[float, float, int]:
    """Percentile interval of bootstrap replicates.

    Args:
        replicates: (B,); NaN (a resample in which the statistic is not defined) is left out.

    Returns:
        low, high (quantiles by linear interpolation; NaN where nothing is left) and how many were left out.
    """
    check_level(level)
    values = np.asarray(replicates, np.float64)
    used = values[~np.isnan(values)]
    if not len(used):
        return math.nan, math.nan, len(values)
    low, high = np.quantile(used, [0.5 - level / 2, 0.5 + level / 2], method="linear")
    return float(low), float(high), len(values) - len(used)


def bca_interval(
    values: npt.ArrayLike, groups: Groups, replicates: npt.ArrayLike, level: float = 0.95
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval of a mean (Efron 1987), patients as units.

    Args:
        values: (S, N).
        groups: (N,) patients.
        replicates: (B,) of `bootstrap_mean` on the same values and patients.

    Returns:
        low, high: the quantiles of the replicates at Phi(z0 + (z0 + z) / (1 - a (z0 + z))), with
        z0 = Phi^-1 of the share of replicates below the estimate (equal ones count one half), the
        acceleration a = sum d^3 / (6 (sum d^2)^1.5) and d_c = mean of the jackknife means minus the mean
        without patient c. NaN with one patient, or with all replicates on one side of the estimate;
        both bounds on the mean where nothing varies.

    Raises:
        ValueError: wrong shapes, values or replicates that are not finite, or a level outside (0, 1).
    """
    array, codes = check_values(values, len(groups)), group_codes(groups)
    totals, sizes = np.bincount(codes, array.mean(0)), np.bincount(codes)
    if len(totals) < 2:
        return math.nan, math.nan
    without = (totals.sum() - totals) / (len(codes) - sizes)
    return _bca(float(array.mean()), without.mean() - without, replicates, rounding(array), level)


def bca_interval_of(
    estimate: float, pseudo: npt.ArrayLike, replicates: npt.ArrayLike, level: float = 0.95
) -> tuple[float, float]:
    """The same for a statistic that is no mean, from its delete-one-patient pseudo-values.

    Args:
        estimate: on all patients.
        pseudo: (C,) pseudo-values, see `jackknife`; of several trainings, their mean.
        replicates: (B,) of the statistic; NaN (a resample in which it is not defined) is left out.

    Raises:
        ValueError: wrong shapes, infinite replicates, or a level outside (0, 1).
    """
    values, draws = np.asarray(pseudo, np.float64), np.asarray(replicates, np.float64)
    draws = draws[~np.isnan(draws)]
    if values.ndim != 1 or not values.size:
        raise ValueError(f"pseudo: expected shape (patients,), found {values.shape}")
    if len(values) < 2 or np.isnan(values).any() or not draws.size:
        return math.nan, math.nan
    # theta_(-c) = (C theta - pseudo_c) / (C - 1)
    return _bca(estimate, (values - values.mean()) / (len(values) - 1), draws, rounding(values), level)


def _bca(estimate: float, d: Float, replicates: npt.ArrayLike, noise: float, level: float) -> tuple[float, float]:
    check_level(level)
    draws = check_values(np.asarray(replicates)[None], np.size(replicates), "replicates")[0]
    if float(np.abs(d).max()) <= noise:
        return estimate, estimate
    acceleration = float((d**3).sum() / (6 * (d**2).sum() ** 1.5))
    below, equal = draws < estimate - noise, np.abs(draws - estimate) <= noise
    z0 = float(ndtri(below.mean() + equal.mean() / 2))
    if math.isinf(z0):
        return math.nan, math.nan
    shifted = z0 + ndtri(np.array([0.5 - level / 2, 0.5 + level / 2]))
    shares = ndtr(z0 + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(draws, shares, method="linear")
    return float(low), float(high)


def check_labels(labels: npt.ArrayLike, n_images: int) -> npt.NDArray[np.bool_]:
    """(N,) which images are positive; ValueError for other shapes and labels other than 0 and 1."""
    array = np.asarray(labels)
    if array.shape != (n_images,):
        raise ValueError(f"labels: expected shape ({n_images},), found {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise ValueError("labels: expected 0 and 1 only")
    return np.asarray(array == 1, np.bool_)


def check_curves(
    tp: npt.NDArray[np.integer], fp: npt.NDArray[np.integer], truth_area: npt.ArrayLike, n_images: int
) -> None:
    """ValueError unless tp and fp are (S, N, T) and truth_area (N,), N = `n_images`."""
    if tp.ndim != 3 or tp.shape != fp.shape or tp.shape[1] != n_images or not tp.size:
        raise ValueError(f"tp, fp: expected (seeds, {n_images}, thresholds), found {tp.shape}, {fp.shape}")
    if np.shape(truth_area) != (n_images,):
        raise ValueError(f"truth_area: expected shape ({n_images},), found {np.shape(truth_area)}")


def ratio(over: Float, under: Float) -> Float:
    """over / under, NaN where under is not positive."""
    out = np.full(over.shape, np.nan)
    np.divide(over, under, out=out, where=under > 0)
    return out


def _blocks(weights: npt.NDArray[np.generic]) -> Iterator[tuple[slice, Float]]:
    """Rows of the weights as float64; each block takes the place of the one before."""
    step = max(1, BLOCK // max(1, weights.shape[1]))
    buffer = np.empty((min(step, len(weights)), weights.shape[1]))
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        block = buffer[: len(weights[rows])]
        np.copyto(block, weights[rows], casting="unsafe")
        yield rows, block


@unchecked
def _precision_by_gain(tp: Float, fp: Float) -> Float:
    """(B,) sum over thresholds of precision times the pixels of ground truth gained there; in one pass."""
    out = np.zeros(len(tp))
    for b in range(len(tp)):
        last, total = 0.0, 0.0
        for k in range(tp.shape[1] - 1, -1, -1):
            inside = tp[b, k]
            if inside + fp[b, k] > 0:
                total += inside / (inside + fp[b, k]) * (inside - last)
            last = inside
        out[b] = total
    return out


@compiled
def _draw(seeds: npt.NDArray[np.uint64], counts: npt.NDArray[np.uint16]) -> None:
    """How often each of n numbers comes in n draws with replacement, row by row, each from its own seed.

    SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), two 32-bit words a step, brought to 0 .. n - 1 without bias
    (Lemire, ACM TOMACS 2019). numpy's bounded integers take twice as long, its multinomial forty times.
    """
    n = counts.shape[1]
    times, low = np.uint64(n), np.uint64(0xFFFFFFFF)
    refused = np.uint64(2**32 % n)
    for row in range(len(seeds)):
        counts[row] = 0
        state = seeds[row]
        left = n
        while left > 0:
            state += np.uint64(0x9E3779B97F4A7C15)
            word = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            word ^= word >> np.uint64(31)
            first, second = (word & low) * times, (word >> np.uint64(32)) * times
            if first & low >= refused:
                counts[row, first >> np.uint64(32)] += 1
                left -= 1
            if left > 0 and second & low >= refused:
                counts[row, second >> np.uint64(32)] += 1
                left -= 1


def _weighted_auc(positive: npt.NDArray[np.bool_], scores: Float, w: Float) -> Float:
    # All sorted by score. Runs of equal scores are one step: half of its negatives count as below.
    starts = np.flatnonzero(np.diff(scores, prepend=np.nan) != 0)
    up = np.add.reduceat(w * positive, starts, axis=1)
    down = np.add.reduceat(w * ~positive, starts, axis=1)
    below = np.cumsum(down, axis=1) - 0.5 * down
    pairs = up.sum(1) * down.sum(1)
    return ratio((up * below).sum(1), pairs)
