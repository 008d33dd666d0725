"""How sure a training's validation figures are: the interval that names it inverted or at chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wsl_bench.metrics.classification import auc
from wsl_bench.stats.bootstrap import bootstrap_auc, cluster_weights, percentile_interval

RESAMPLES = 1000


def auc_interval(
    labels: npt.NDArray[np.int64], scores: npt.NDArray[np.floating], groups: Sequence[str]
) -> dict[str, float]:
    """AUC of one training on one split with its 95 % patient-cluster bootstrap interval.

    Args:
        labels: (N,) 0 or 1. scores: (N,). groups: (N,) patients.

    Returns:
        {"value", "low", "high"}; the same resamples for every training.
    """
    weights = cluster_weights(groups, RESAMPLES, np.random.default_rng(0))
    values = np.asarray(scores, np.float64)
    low, high = percentile_interval(bootstrap_auc(labels, values[None], weights))[:2]
    return {"value": auc(labels, values), "low": float(low), "high": float(high)}
