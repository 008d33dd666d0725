"""Classification metrics over images: does the method see the disease at all?

Labels are 0 or 1. A method that gives no probability has NaN for every image, and every metric of it is NaN;
NaN for only some of the images is an error. So is a metric of no images NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

# Probabilities are kept this far from 0 and 1 in the cross-entropy, so that one sure error costs 16 nats.
CLIP = 1e-7


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Area under the ROC curve: the chance that a positive outscores a negative, a tie counting one half.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) any finite numbers, higher = more evidence.
        weights: (N,) finite and not negative, by which every image counts; None = 1 each.

    Returns:
        the AUC; NaN if a class is missing (or has no weight), or if the method gives no scores.

    Raises:
        ValueError: shapes differ, labels other than 0 and 1, some scores NaN or infinite, bad weights.

    Source: the Mann-Whitney statistic, Hanley and McNeil, Radiology 1982.
    """
    positive, values = _checked(labels, scores)
    weight = _checked_weights(weights, positive.size)
    of_positives, of_negatives = weight * positive, weight * ~positive
    pairs = float(of_positives.sum() * of_negatives.sum())
    if not pairs > 0 or _no_values(values):
        return float("nan")
    _, rank = np.unique(values, return_inverse=True)
    positives = np.bincount(rank, of_positives)
    negatives = np.bincount(rank, of_negatives)
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)


def accuracy(labels: ArrayLike, probability: ArrayLike, threshold: float) -> float:
    """Share of images classified correctly when `probability >= threshold` means positive.

    Args:
        labels: (N,) 0 or 1.
        probability: (N,) in [0, 1].
        threshold: the decision threshold.

    Raises:
        ValueError: shapes differ, labels other than 0 and 1, probabilities outside [0, 1] or partly NaN.
    """
    positive, values = _checked(labels, probability, highest=1.0)
    if _no_values(values):
        return float("nan")
    return float(np.mean((values >= threshold) == positive))


def best_decision_threshold(labels: ArrayLike, probability: ArrayLike) -> tuple[float, float]:
    """The decision threshold with the highest accuracy, and that accuracy.

    Candidates are the midpoints between neighbouring distinct probabilities, one threshold at which every
    image is positive (half the lowest probability) and one at which none is (midway from the highest
    probability to 1, or the float after 1). Among equally accurate ones the closest to 0.5 wins, then the
    lower.

    Args:
        labels: (N,) 0 or 1.
        probability: (N,) in [0, 1].

    Returns:
        threshold, accuracy; both NaN if there are no images or no probabilities.

    Raises:
        ValueError: shapes differ, labels other than 0 and 1, probabilities outside [0, 1] or partly NaN.
    """
    positive, values = _checked(labels, probability, highest=1.0)
    if _no_values(values):
        return float("nan"), float("nan")
    distinct, rank = np.unique(values, return_inverse=True)
    low, high = distinct[:-1], distinct[1:]
    middle = (low + high) / 2
    # Between two adjacent floats the midpoint rounds to one of them; only the upper separates the two.
    middle = np.where(middle > low, middle, high)
    above = np.nextafter(1.0, 2.0) if distinct[-1] == 1.0 else (distinct[-1] + 1.0) / 2
    candidates = np.concatenate([[distinct[0] / 2], middle, [max(above, np.nextafter(distinct[-1], 2.0))]])
    positives = np.bincount(rank, positive)
    negatives = np.bincount(rank, ~positive)
    # At candidate i the values of rank >= i are called positive.
    correct = np.concatenate([[0], np.cumsum(negatives)]) + np.append(np.cumsum(positives[::-1])[::-1], 0)
    best = np.lexsort((candidates, np.abs(candidates - 0.5), -correct))[0]
    return float(candidates[best]), float(correct[best] / values.size)


def cross_entropy(labels: ArrayLike, probability: ArrayLike) -> float:
    """Mean binary cross-entropy in nats, with the probability clipped to [1e-7, 1 - 1e-7].

    Args:
        labels: (N,) 0 or 1.
        probability: (N,) in [0, 1].

    Raises:
        ValueError: shapes differ, labels other than 0 and 1, probabilities outside [0, 1] or partly NaN.
    """
    positive, values = _checked(labels, probability, highest=1.0)
    if _no_values(values):
        return float("nan")
    of_truth = np.where(positive, values, 1.0 - values)
    return float(-np.log(np.clip(of_truth, CLIP, 1.0 - CLIP)).mean())


def _no_values(values: Float) -> bool:
    return values.size == 0 or bool(np.isnan(values[0]))


def _checked(labels: ArrayLike, values: ArrayLike, *, highest: float = np.inf) -> tuple[NDArray[np.bool_], Float]:
    """Labels as booleans and values as float64, either all NaN or all finite (in [0, highest] if that is)."""
    label_array: NDArray[Any] = np.asarray(labels)
    array = np.asarray(values, dtype=np.float64)
    if label_array.ndim != 1 or label_array.shape != array.shape:
        raise ValueError(f"expected labels and values of one shape (N,), found {label_array.shape}, {array.shape}")
    if not np.isin(label_array, (0, 1)).all():
        raise ValueError("labels: expected only 0 and 1")
    if not np.isnan(array).all():
        if not np.isfinite(array).all():
            raise ValueError("values: expected all finite or all NaN, found a mixture")
        if np.isfinite(highest) and (array.min() < 0 or array.max() > highest):
            raise ValueError(f"probability: expected [0, 1], found [{array.min():.9g}, {array.max():.9g}]")
    return label_array == 1, array


def _checked_weights(weights: ArrayLike | None, n: int) -> Float:
    if weights is None:
        return np.ones(n)
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (n,) or not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"weights: expected {n} finite numbers from 0 up")
    return array
