"""Bootstraps and pseudo-values against naive loops, scikit-learn and scipy."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from wsl_bench.stats.bootstrap import (
    bootstrap_auc,
    bootstrap_mean,
    bootstrap_pxap,
    cluster_weights,
    percentile_interval,
)  # fmt: skip
from wsl_bench.stats.crossed import crossed_interval, crossed_interval_of
from wsl_bench.stats.jackknife import pseudo_values_auc, pseudo_values_pxap

GROUPS = np.array([f"p{i // 2}" for i in range(24)])
LABELS = np.array([0, 1, 1, 0] * 6)


def naive_pxap(tp: npt.NDArray[np.int64], fp: npt.NDArray[np.int64], area: npt.NDArray[np.int64]) -> float:
    total, last = 0.0, 0.0
    for k in range(tp.shape[1] - 1, -1, -1):
        t, p = tp[:, k].sum(), (tp + fp)[:, k].sum()
        total += (t / p if p else 0.0) * (t / area.sum() - last)
        last = t / area.sum()
    return total


@pytest.fixture
def curves() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(3)
    tp = np.cumsum(rng.integers(0, 3, (2, 24, 21)), axis=2)[:, :, ::-1].copy()
    fp = np.cumsum(rng.integers(0, 5, (2, 24, 21)), axis=2)[:, :, ::-1].copy()
    tp[:, :, -1] = fp[:, :, -1] = 0  # nothing is predicted at the highest threshold
    return tp, fp, tp.max(axis=(0, 2)) + 2


def test_weights_keep_patients_whole() -> None:
    weights = cluster_weights(GROUPS, 500, np.random.default_rng(0))
    assert weights.shape == (500, 24)
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert (weights[:, ::2].sum(1) == 12).all()
    assert weights.mean() == pytest.approx(1, abs=1e-9)
    again = cluster_weights(GROUPS, 500, np.random.default_rng(0))
    np.testing.assert_array_equal(weights, again)


def test_means_against_a_loop_that_repeats_patients() -> None:
    values = np.random.default_rng(1).random((3, 24))
    weights = cluster_weights(GROUPS, 50, np.random.default_rng(2))
    result = bootstrap_mean(values, weights)
    for row, got in zip(weights, result, strict=True):
        chosen = [i for i in range(24) for _ in range(int(row[i]))]
        assert got == pytest.approx(np.mean([values[:, i].mean() for i in chosen]))


def test_interval_of_a_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(4).beta(2, 5, (1, 200))
    ours = percentile_interval(bootstrap_mean(values, cluster_weights(range(200), 9999, np.random.default_rng(5))))
    peer = stats.bootstrap((values[0],), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(6))
    width = ours[1] - ours[0]
    assert ours[0] == pytest.approx(peer.confidence_interval.low, abs=0.06 * width)
    assert ours[1] == pytest.approx(peer.confidence_interval.high, abs=0.06 * width)


def test_auc_against_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(8)
    scores = rng.integers(0, 5, (2, 24)) / 4
    weights = cluster_weights(GROUPS, 60, rng)
    for row, got in zip(weights, bootstrap_auc(LABELS, scores, weights), strict=True):
        chosen = np.repeat(np.arange(24), row)
        assert got == pytest.approx(np.mean([roc_auc_score(LABELS[chosen], s[chosen]) for s in scores]))


def test_resamples_without_a_class_are_counted_and_left_out() -> None:
    weights = np.array([[1, 1], [2, 0], [0, 2]], np.uint16)
    replicates = bootstrap_auc([0, 1], np.array([[0.2, 0.9]]), weights)
    assert replicates[0] == 1
    assert np.isnan(replicates[1:]).all()
    assert percentile_interval(replicates) == (1.0, 1.0, 2)
    assert math.isnan(percentile_interval([math.nan])[0])


def test_pxap_against_a_loop(
    curves: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> None:
    tp, fp, area = curves
    weights = cluster_weights(GROUPS, 30, np.random.default_rng(9))
    for row, got in zip(weights, bootstrap_pxap(tp, fp, area, weights), strict=True):
        chosen = np.repeat(np.arange(24), row)
        each = [naive_pxap(tp[s][chosen], fp[s][chosen], area[chosen]) for s in range(2)]
        assert got == pytest.approx(np.mean(each))


def test_pseudo_values_against_loops(
    curves: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> None:
    tp, fp, area = curves
    scores = np.random.default_rng(10).random((2, 24))
    by_auc, by_pxap = pseudo_values_auc(LABELS, scores, GROUPS), pseudo_values_pxap(tp, fp, area, GROUPS)
    assert by_auc.shape == by_pxap.shape == (2, 12)
    names = np.unique(GROUPS)
    for s in range(2):
        for c, name in enumerate(names):
            keep = name != GROUPS
            whole, rest = roc_auc_score(LABELS, scores[s]), roc_auc_score(LABELS[keep], scores[s][keep])
            assert by_auc[s, c] == pytest.approx(12 * whole - 11 * rest)
            whole, rest = naive_pxap(tp[s], fp[s], area), naive_pxap(tp[s][keep], fp[s][keep], area[keep])
            assert by_pxap[s, c] == pytest.approx(12 * whole - 11 * rest)


def test_pseudo_values_of_a_mean_are_its_values() -> None:
    values = np.random.default_rng(11).random((3, 10))
    pseudo = 10 * values.mean(1, keepdims=True) - (values.sum(1, keepdims=True) - values)
    ours, direct = crossed_interval_of(values.mean(1), pseudo), crossed_interval(values, range(10))
    assert (ours.low, ours.mean, ours.high) == pytest.approx((direct.low, direct.mean, direct.high))


def test_coverage_for_auc() -> None:
    """Seeds share patients; scores of seed s separate the classes by a random margin around 1.2."""
    rng = np.random.default_rng(12)
    truth = np.mean([stats.norm.cdf((1.2 + d) / math.sqrt(2)) for d in rng.normal(0, 0.15, 20_000)])
    hits, studies = 0, 250
    for _ in range(studies):
        labels = np.repeat([0, 1], 60)
        common = rng.normal(0, 0.8, 120)
        scores = common + rng.normal(0, 0.6, (6, 120)) + labels * (1.2 + rng.normal(0, 0.15, (6, 1)))
        theta = np.array([roc_auc_score(labels, s) for s in scores])
        interval = crossed_interval_of(theta, pseudo_values_auc(labels, scores, range(120)))
        hits += interval.low <= truth <= interval.high
    assert 0.91 <= hits / studies <= 0.985
