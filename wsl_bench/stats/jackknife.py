"""Delete-one-patient pseudo-values, which give curve metrics the crossed interval too (Tukey 1958)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wsl_bench.stats.bootstrap import average_precision, bootstrap_auc
from wsl_bench.stats.crossed import group_codes

Float = npt.NDArray[np.float64]


def pseudo_values_auc(
    labels: npt.ArrayLike, scores: npt.ArrayLike, groups: Sequence[object] | npt.NDArray[np.generic]
) -> Float:
    """(S, C): C * AUC - (C - 1) * AUC without patient c.

    Args:
        labels: (N,) 0 or 1. scores: (S, N). groups: (N,) patients.
    """
    codes = group_codes(groups)
    n_groups = int(codes.max()) + 1
    without = (codes[None, :] != np.arange(n_groups)[:, None]).astype(np.uint8)
    everyone = np.ones((1, len(codes)), np.uint8)
    rows = np.asarray(scores, np.float64)[:, None, :]
    whole = np.stack([bootstrap_auc(labels, row, everyone) for row in rows])
    left_out = np.stack([bootstrap_auc(labels, row, without) for row in rows])
    return _pseudo(whole, left_out)


def pseudo_values_pxap(
    tp: npt.NDArray[np.integer], fp: npt.NDArray[np.integer], truth_area: npt.ArrayLike,
    groups: Sequence[object] | npt.NDArray[np.generic],
) -> Float:  # fmt: skip
    """(S, C) pseudo-values of the pooled pixel average precision.

    Args:
        tp, fp: (S, N, T), thresholds ascending. truth_area: (N,). groups: (N,) patients.
    """
    codes = group_codes(groups)
    n_groups = int(codes.max()) + 1
    area = np.bincount(codes, np.asarray(truth_area, np.float64), minlength=n_groups)
    whole, left_out = [], []
    for t, f in zip(tp, fp, strict=True):
        by_group = [np.zeros((n_groups, t.shape[1])) for _ in range(2)]
        for out, counts in zip(by_group, (t, f), strict=True):
            np.add.at(out, codes, counts)
        totals = [counts.sum(0, keepdims=True) for counts in by_group]
        whole.append(average_precision(totals[0], totals[1], area.sum(keepdims=True)))
        left_out.append(average_precision(totals[0] - by_group[0], totals[1] - by_group[1], area.sum() - area))
    return _pseudo(np.stack(whole), np.stack(left_out))


def _pseudo(whole: Float, left_out: Float) -> Float:
    n_groups = left_out.shape[1]
    return np.asarray(n_groups * whole - (n_groups - 1) * left_out, np.float64)
