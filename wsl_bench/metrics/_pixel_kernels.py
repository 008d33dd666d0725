"""Compiled loops over the pixels of one map. Imported on first use, for numba is slow to import."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsl_bench.jit import compiled
from wsl_bench.metrics.grid import N_THRESHOLDS, THRESHOLDS

# One entry more than there are thresholds, so that bin 1000 can be compared with its successor too.
_EDGES = np.append(THRESHOLDS, np.float32(np.inf))
_SCALE = np.float32(N_THRESHOLDS - 1)


@compiled
def _bin_of(score: np.float32) -> int:
    """The largest k with score >= THRESHOLDS[k], for a score in [0, 1].

    The rounded product misses the true bin by at most one (checked for every float32 in [0, 1]), and the
    table, the one that thresholding uses, has the last word.
    """
    k = int(score * _SCALE)
    if score < _EDGES[k]:
        return k - 1
    if score >= _EDGES[k + 1]:
        return k + 1
    return k


@compiled
def bins(scores: NDArray[np.float32], out: NDArray[np.int16]) -> bool:
    """Fill `out` (n,) with the bins of `scores` (n,); False if a score is not in [0, 1]."""
    for i in range(scores.size):
        # Written so that NaN fails it too.
        if not (scores[i] >= 0.0 and scores[i] <= 1.0):
            return False
        out[i] = _bin_of(scores[i])
    return True


@compiled
def histograms(scores: NDArray[np.float32], truth: NDArray[np.bool_], out: NDArray[np.uint32]) -> bool:
    """Add the pixels (n,) to `out` (2, 1001), row 1 inside the truth; False if a score is not in [0, 1]."""
    for i in range(scores.size):
        if not (scores[i] >= 0.0 and scores[i] <= 1.0):
            return False
        out[int(truth[i]), _bin_of(scores[i])] += 1
    return True
