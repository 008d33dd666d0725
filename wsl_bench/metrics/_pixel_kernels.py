"""Compiled loops over the pixels of one map. Imported on first use, for numba is slow to import.

The pixels go by in blocks that stay in the first cache: the bins of a block are computed by a loop without
branches or tables, which the compiler turns into vector instructions, and then counted one by one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsl_bench.jit import inlined, unchecked
from wsl_bench.metrics.grid import N_THRESHOLDS

_STEPS = np.float32(N_THRESHOLDS - 1)
_BLOCK = 2048
# Bins inside the truth are counted this far behind those outside.
_INSIDE = 1024


@inlined
def _bin_of(score: np.float32) -> np.int32:
    """The largest k with score >= THRESHOLDS[k], for a score in [0, 1].

    The rounded product misses the true bin by at most one, and single-precision k / 1000 is THRESHOLDS[k] to
    the last bit (both checked for every float32 in [0, 1]); so two comparisons have the last word.
    """
    k = np.int32(score * _STEPS)
    above = np.int32(score >= np.float32(k + 1) / _STEPS)
    below = np.int32(score < np.float32(k) / _STEPS)
    return k + above - below


@inlined
def _in_range(score: np.float32) -> np.int32:
    """1 for a score in [0, 1], 0 for any other and for NaN."""
    return np.int32((score >= np.float32(0)) & (score <= np.float32(1)))


@unchecked
def _all_in_range(scores: NDArray[np.float32]) -> bool:
    n = np.int32(0)
    for i in range(scores.size):
        n += _in_range(scores[i])
    return bool(n == scores.size)


@unchecked
def bins(scores: NDArray[np.float32], out: NDArray[np.int16]) -> bool:
    """Fill `out` (n,) with the bins of `scores` (n,); False if a score is not in [0, 1]."""
    if not _all_in_range(scores):
        return False
    for i in range(scores.size):
        out[i] = _bin_of(scores[i])
    return True


@unchecked
def _cells(scores: NDArray[np.float32], truth: NDArray[np.bool_], out: NDArray[np.uint16]) -> None:
    for i in range(scores.size):
        out[i] = _bin_of(scores[i]) + np.int32(_INSIDE) * np.int32(truth[i])


@unchecked
def _count(cells: NDArray[np.uint16], counts: NDArray[np.uint32]) -> None:
    """Neighbours often share a cell, and a counter is not ready again at once: four sets of counters take turns."""
    whole = cells.size // 4 * 4
    for i in range(0, whole, 4):
        counts[0, cells[i]] += np.uint32(1)
        counts[1, cells[i + 1]] += np.uint32(1)
        counts[2, cells[i + 2]] += np.uint32(1)
        counts[3, cells[i + 3]] += np.uint32(1)
    for i in range(whole, cells.size):
        counts[0, cells[i]] += np.uint32(1)


@unchecked
def histograms(scores: NDArray[np.float32], truth: NDArray[np.bool_], out: NDArray[np.uint32]) -> bool:
    """Add the pixels (n,) to `out` (2, 1001), row 1 inside the truth; False if a score is not in [0, 1]."""
    if not _all_in_range(scores):
        return False
    cells = np.empty(_BLOCK, dtype=np.uint16)
    counts = np.zeros((4, 2 * _INSIDE), dtype=np.uint32)
    for start in range(0, scores.size, _BLOCK):
        stop = min(start + _BLOCK, scores.size)
        _cells(scores[start:stop], truth[start:stop], cells[: stop - start])
        _count(cells[: stop - start], counts)
    for j in range(4):
        for k in range(N_THRESHOLDS):
            out[0, k] += counts[j, k]
            out[1, k] += counts[j, _INSIDE + k]
    return True
