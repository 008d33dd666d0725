"""The one grid of thresholds on which everything is counted: k/1000 for k from 0 to 1000."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsl_bench.errors import UsageError

N_THRESHOLDS = 1001
THRESHOLDS: NDArray[np.float32] = (np.arange(N_THRESHOLDS) / 1000).astype(np.float32)
THRESHOLDS.flags.writeable = False


def threshold_bins(scores: NDArray[np.float32]) -> NDArray[np.int16]:
    """The bin of every score: the largest k with `score >= THRESHOLDS[k]`, compared in float32.

    A pixel is predicted at threshold k exactly if its bin is at least k; that holds for every float32 in [0,
    1], edges included.

    Args:
        scores: float32, any shape, values in [0, 1].

    Returns:
        int16, same shape, values from 0 to 1000.

    Raises:
        ValueError: scores of another dtype, not finite or outside [0, 1].
    """
    # Here and not at the top, so that reading a tally does not import numba.
    from wsl_bench.metrics import _pixel_kernels

    flat = flat_scores(scores)
    out = np.empty(flat.shape, dtype=np.int16)
    if not _pixel_kernels.bins(flat, out):
        raise out_of_range(flat)
    return out.reshape(scores.shape)


def threshold_index(t: float) -> int:
    """The k of an operating threshold t = k/1000.

    Raises:
        UsageError: t is not a multiple of 0.001 from 0.001 to 1 (0 would predict every pixel of every image).
    """
    k = round(t * 1000) if math.isfinite(t) else 0
    # The slack covers the rounding of t * 1000 in float64 and of t itself, should it come from a float32.
    if not 1 <= k < N_THRESHOLDS or abs(t * 1000 - k) > 1e-4:
        raise UsageError(f"threshold: expected a multiple of 0.001 from 0.001 to 1, found {t!r}.")
    return k


def flat_scores(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores as a contiguous float32 vector; ValueError for another dtype.

    Never read-only, because numba would compile a second version for read-only arrays.
    """
    if scores.dtype != np.float32:
        raise ValueError(f"scores: expected float32, found {scores.dtype}")
    return np.require(scores.reshape(-1), requirements=["C", "W"])


def out_of_range(scores: NDArray[np.float32]) -> ValueError:
    """The error that says what is wrong with scores that a kernel has refused."""
    not_finite = int(np.count_nonzero(~np.isfinite(scores)))
    if not_finite:
        return ValueError(f"scores: expected finite values in [0, 1], found {not_finite} that are not finite")
    return ValueError(f"scores: expected values in [0, 1], found [{scores.min():.9g}, {scores.max():.9g}]")
