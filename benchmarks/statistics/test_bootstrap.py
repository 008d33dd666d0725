"""BCa intervals of 25 series (5 methods x 5 metrics) on 2,569 images, and resampled curve metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from wsl_bench.stats.bootstrap import bca_interval, bootstrap_means, bootstrap_pxap, cluster_weights

N_IMAGES, RESAMPLES = 2569, 10_000
Intervals = NDArray[np.float64]


def ours(series: NDArray[np.float64]) -> Intervals:
    patients = np.arange(N_IMAGES)
    replicates = bootstrap_means(series, cluster_weights(patients, RESAMPLES, np.random.default_rng(0)))
    return np.array([bca_interval(row[None], patients, draws) for row, draws in zip(series, replicates, strict=True)])


def scipy_together(series: NDArray[np.float64]) -> Intervals:
    """All series in one vectorised call, which draws once for all of them."""
    found = stats.bootstrap((series,), np.mean, axis=1, n_resamples=RESAMPLES, method="BCa", vectorized=True, batch=200,
                            rng=np.random.default_rng(0)).confidence_interval  # fmt: skip
    return np.stack([found.low, found.high], axis=1)


def scipy_one_by_one(series: NDArray[np.float64]) -> Intervals:
    """As it is documented: a call a series."""
    each = [
        stats.bootstrap((row,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0))
        for row in series
    ]
    return np.array([tuple(found.confidence_interval) for found in each])


@pytest.mark.parametrize("way", [ours, scipy_together, scipy_one_by_one], ids=lambda way: way.__name__)
def test_intervals_of_25_series(benchmark: Any, way: Any) -> None:
    series = np.random.default_rng(1).beta(0.6, 1.2, (25, N_IMAGES))
    expected = ours(series)
    benchmark.group = "BCa intervals, 25 series x 2,569 images x 10,000 resamples"
    found = benchmark.pedantic(way, (series,), rounds=9 if way is ours else 3)
    # They agree up to the chance of 10,000 resamples.
    width = (expected[:, 1] - expected[:, 0])[:, None]
    assert np.abs((found - expected) / width).max() < 0.06


def as_product(tp: NDArray[np.int64], fp: NDArray[np.int64], area: NDArray[np.int64]) -> NDArray[np.float64]:
    weights = cluster_weights(np.arange(len(area)), 1000, np.random.default_rng(0))
    return bootstrap_pxap(tp[None], fp[None], area, weights)


def as_loop(tp: NDArray[np.int64], fp: NDArray[np.int64], area: NDArray[np.int64]) -> NDArray[np.float64]:
    """Every resample's curves are summed and scored by themselves."""
    rng, out = np.random.default_rng(0), []
    for _ in range(1000):
        chosen = rng.integers(0, len(area), len(area))
        t, f = tp[chosen].sum(0).astype(float), fp[chosen].sum(0).astype(float)
        precision = np.divide(t, t + f, out=np.zeros_like(t), where=t + f > 0)
        out.append(-(precision * np.diff(t, append=0)).sum() / area[chosen].sum())
    return np.array(out)


@pytest.mark.parametrize("way", [as_product, as_loop], ids=lambda way: way.__name__)
def test_resampled_pooled_precision(benchmark: Any, way: Any) -> None:
    rng = np.random.default_rng(2)
    tp, fp = (np.cumsum(rng.integers(0, high, (500, 1001)), axis=1)[:, ::-1].copy() for high in (3, 6))
    area = tp.max(1) + rng.integers(0, 100, 500)
    expected = as_product(tp, fp, area)
    benchmark.group = "PxAP of 500 images, 1,001 thresholds, 1,000 resamples"
    found = benchmark.pedantic(way, (tp, fp, area), rounds=5 if way is as_product else 2)
    assert found.std() == pytest.approx(expected.std(), rel=0.15)
