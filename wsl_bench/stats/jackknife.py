"""Delete-one-patient pseudo-values, which give curve metrics the crossed interval too (Tukey 1958).

With theta the statistic on all C patients and theta_(-c) without patient c, the pseudo-value is
C * theta - (C - 1) * theta_(-c): it behaves like the patient's own contribution, so that
`crossed.crossed_interval_of` can treat the (S, C) table as values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl_bench.stats.bootstrap import average_precision, check_curves, check_labels, ratio
from wsl_bench.stats.crossed import Float, Groups, check_values, group_codes


def pseudo_values_auc(labels: npt.ArrayLike, scores: npt.ArrayLike, groups: Groups) -> Float:
    """Pseudo-values of the area under the ROC curve (ties one half), in O(N log N) a seed.

    Args:
        labels: (N,) 0 or 1.
        scores: (S, N), higher means 1.
        groups: (N,) patients.

    Returns:
        (S, C), patients in the order of `group_codes`; NaN for a patient without whom a class is missing.

    Raises:
        ValueError: wrong shapes, other labels, or scores that are not finite.
    """
    array = check_values(scores, len(groups), "scores")
    positive, codes = check_labels(labels, len(groups)), group_codes(groups)
    return np.stack([_auc_pseudo(positive, row, codes) for row in array])


def pseudo_values_pxap(
    tp: npt.NDArray[np.integer], fp: npt.NDArray[np.integer], truth_area: npt.ArrayLike, groups: Groups
) -> Float:
    """Pseudo-values of the pooled pixel average precision.

    Args:
        tp, fp: (S, N, T) pixels predicted inside and outside the ground truth, thresholds ascending.
        truth_area: (N,) pixels of ground truth.
        groups: (N,) patients.

    Returns:
        (S, C), patients in the order of `group_codes`; NaN for a patient who has all the ground truth.

    Raises:
        ValueError: wrong shapes.
    """
    check_curves(tp, fp, truth_area, len(groups))
    codes = group_codes(groups)
    n_groups = int(codes.max()) + 1
    area = np.bincount(codes, np.asarray(truth_area, np.float64), minlength=n_groups)
    total = area.sum(keepdims=True)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(n_groups))
    out = []
    for t, f in zip(tp, fp, strict=True):
        inside, outside = _summed(t[order], starts), _summed(f[order], starts)
        all_in, all_out = inside.sum(0, keepdims=True), outside.sum(0, keepdims=True)
        whole = average_precision(all_in, all_out, total)
        left_out = average_precision(all_in - inside, all_out - outside, total - area)
        out.append(n_groups * whole - (n_groups - 1) * left_out)
    return np.stack(out)


def _summed(counts: npt.NDArray[np.integer], starts: npt.NDArray[np.int64]) -> Float:
    """Rows of one patient after the other -> one row a patient."""
    return np.add.reduceat(counts.astype(np.float64), starts, axis=0)


def _auc_pseudo(positive: npt.NDArray[np.bool_], scores: Float, codes: npt.NDArray[np.int64]) -> Float:
    """(C,) for one seed: without patient c go the pairs won by its positives and those won over its
    negatives; pairs inside the patient are among both and come back once."""
    n_groups = int(codes.max()) + 1
    place = np.unique(scores, return_inverse=True)[1].astype(np.int64)
    up, down = np.bincount(place, positive), np.bincount(place, ~positive)
    below = np.cumsum(down) - 0.5 * down  # negatives below a score, and half of those on it
    above = up.sum() - np.cumsum(up) + 0.5 * up
    won = np.where(positive, below[place], above[place])
    lost = np.bincount(codes, won, minlength=n_groups) - _wins_inside(positive, place, codes)
    n_up = np.bincount(codes, positive, minlength=n_groups)
    n_down = np.bincount(codes, ~positive, minlength=n_groups)
    wins = won[positive].sum()
    whole = ratio(np.array([wins]), n_up.sum(keepdims=True) * n_down.sum(keepdims=True))
    left_out = ratio(wins - lost, (n_up.sum() - n_up) * (n_down.sum() - n_down))
    return np.asarray(n_groups * whole - (n_groups - 1) * left_out, np.float64)


def _wins_inside(
    positive: npt.NDArray[np.bool_],
    place: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
) -> Float:
    """(C,) pairs of a positive over a negative of the same patient, ties one half."""
    n_groups, width = int(codes.max()) + 1, int(place.max()) + 1
    cells, at = np.unique(codes * width + place, return_inverse=True)  # (patient, score), sorted
    down = np.bincount(at, ~positive)
    before = np.cumsum(down) - down
    first = np.searchsorted(cells, np.arange(n_groups) * width)
    below = before - before[first][cells // width] + 0.5 * down
    wins = np.where(positive, below[at], 0.0)
    return np.asarray(np.bincount(codes, wins, minlength=n_groups), np.float64)
