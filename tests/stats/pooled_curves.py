"""Curves of pixel counts, and the definition of their average precision as a loop."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Curves = tuple[Counts, Counts, Counts]


def made_up() -> Curves:
    """tp, fp (2 seeds, 24 images, 21 thresholds ascending) and the ground truth's area (24,)."""
    rng = np.random.default_rng(3)
    tp = np.cumsum(rng.integers(0, 3, (2, 24, 21)), axis=2)[:, :, ::-1].copy()
    fp = np.cumsum(rng.integers(0, 5, (2, 24, 21)), axis=2)[:, :, ::-1].copy()
    tp[:, :, -1] = fp[:, :, -1] = 0  # nothing is predicted at the highest threshold
    return tp, fp, tp.max(axis=(0, 2)) + 2


def naive_pxap(tp: Counts, fp: Counts, area: Counts) -> float:
    """Sum over thresholds of precision times the gain in recall; (n, 21) counts, (n,) areas."""
    total, last = 0.0, 0.0
    for k in range(tp.shape[1] - 1, -1, -1):
        t, p = tp[:, k].sum(), (tp + fp)[:, k].sum()
        total += (t / p if p else 0.0) * (t / area.sum() - last)
        last = t / area.sum()
    return total
