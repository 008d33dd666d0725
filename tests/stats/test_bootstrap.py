"""Bootstraps against naive loops, scikit-learn and scipy; what they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pooled_curves import made_up, naive_pxap
from scipy import stats
from sklearn.metrics import roc_auc_score

from wsl_bench.stats import bootstrap
from wsl_bench.stats.bootstrap import (
    bca_interval,
    bootstrap_auc,
    bootstrap_mean,
    bootstrap_means,
    bootstrap_pxap,
    cluster_weights,
    percentile_interval,
)

GROUPS = np.array([f"p{i // 2}" for i in range(24)])
LABELS = np.array([0, 1, 1, 0] * 6)


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
    replicates = bootstrap_mean(values, cluster_weights(range(200), 9999, np.random.default_rng(5)))
    for method, ours in (
        ("percentile", percentile_interval(replicates)[:2]),
        ("BCa", bca_interval(values, range(200), replicates)),
    ):
        rng = np.random.default_rng(6)
        peer = stats.bootstrap((values[0],), np.mean, n_resamples=9999, method=method, rng=rng)
        assert ours == pytest.approx(tuple(peer.confidence_interval), abs=0.06 * (ours[1] - ours[0]))


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_intervals_of_the_same_replicates_are_those_of_scipy(level: float) -> None:
    """No Monte Carlo error between the two: same replicates in, same numbers out."""
    values = np.random.default_rng(20).gamma(0.6, 1.0, (1, 35))
    for method in ("percentile", "BCa"):
        peer = stats.bootstrap(
            (values[0],),
            np.mean,
            n_resamples=2000,
            confidence_level=level,
            method=method,
            rng=np.random.default_rng(21),
        )
        draws = peer.bootstrap_distribution
        ours = percentile_interval(draws, level)[:2]
        if method == "BCa":
            ours = bca_interval(values, range(35), draws, level)
        assert ours == pytest.approx(tuple(peer.confidence_interval), rel=1e-9)


def test_bca_with_unequal_patients_against_a_loop() -> None:
    rng = np.random.default_rng(22)
    sizes = [1, 2, 7, 3, 1, 5]
    groups = [f"p{c}" for c, n in enumerate(sizes) for _ in range(n)]
    values = rng.gamma(0.5, 1.0, (3, len(groups)))
    draws = bootstrap_mean(values, cluster_weights(groups, 999, rng))
    seed_mean = [sum(values[s, i] for s in range(3)) / 3 for i in range(len(groups))]
    left_out = []
    for c in sorted(set(groups)):
        rest = [v for v, g in zip(seed_mean, groups, strict=True) if g != c]
        left_out.append(sum(rest) / len(rest))
    centre = sum(left_out) / len(left_out)
    cubes, squares = sum((centre - x) ** 3 for x in left_out), sum((centre - x) ** 2 for x in left_out)
    a = cubes / (6 * squares**1.5)
    # With six patients some resamples are the sample itself: these count one half.
    m = sum(seed_mean) / len(seed_mean)
    ties = [math.isclose(d, m, rel_tol=1e-12) for d in draws]
    assert sum(ties) > 0
    below = sum(0.5 if tie else float(d < m) for d, tie in zip(draws, ties, strict=True))
    z0 = stats.norm.ppf(below / len(draws))
    expected = []
    for z in (stats.norm.ppf(0.025), stats.norm.ppf(0.975)):
        expected.append(np.quantile(draws, stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))))
    assert bca_interval(values, groups, draws) == pytest.approx(tuple(expected))


def test_bca_where_there_is_nothing_to_correct() -> None:
    flat = np.full((2, 6), 0.1)
    draws = bootstrap_mean(flat, cluster_weights(range(6), 50, np.random.default_rng(0)))
    assert bca_interval(flat, range(6), draws) == pytest.approx((0.1, 0.1))
    values = np.random.default_rng(1).random((2, 6))
    assert all(map(math.isnan, bca_interval(values, range(6), np.full(50, 2.0))))
    assert all(map(math.isnan, bca_interval(values, [0] * 6, np.full(50, values.mean()))))
    with pytest.raises(ValueError, match="finite"):
        bca_interval(values, range(6), [math.nan])


def test_the_distribution_is_that_of_patients_drawn_with_replacement() -> None:
    """A loop that draws patient ids and strings their images together; Kolmogorov-Smirnov, p > 0.001."""
    rng = np.random.default_rng(23)
    sizes = rng.integers(1, 8, 15)
    groups = np.repeat(np.arange(15), sizes)
    values = rng.random((2, len(groups))) + rng.normal(0, 0.3, 15)[groups]
    images = [np.flatnonzero(groups == c) for c in range(15)]
    naive = []
    for _ in range(3000):
        chosen = np.concatenate([images[c] for c in rng.integers(0, 15, 15)])
        naive.append(values[:, chosen].mean())
    ours = bootstrap_mean(values, cluster_weights(groups, 3000, rng))
    assert stats.ks_2samp(ours, naive).pvalue > 0.001


def test_many_series_at_once_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(24)
    series, scores = rng.random((4, 24)), rng.random((2, 24))
    weights = cluster_weights(GROUPS, 37, rng)
    together, areas = bootstrap_means(series, weights), bootstrap_auc(LABELS, scores, weights)
    for row, got in zip(series, together, strict=True):
        assert got == pytest.approx(bootstrap_mean(row[None], weights))
    monkeypatch.setattr(bootstrap, "BLOCK", 5 * 24)
    assert bootstrap_means(series, weights) == pytest.approx(together, rel=1e-14)
    np.testing.assert_array_equal(bootstrap_auc(LABELS, scores, weights), areas)


def test_coverage_of_these_trainings_needs_patients_as_units() -> None:
    """Eight images a patient, 40 patients, seeds fixed: resampled images pretend to 320 patients.

    300 studies at 0.95: standard error 0.013. A percentile interval of 40 units is a little narrow
    (0.94), so from 0.90 to 0.98; images as units cover about 0.6.
    """
    rng = np.random.default_rng(25)
    seeds = rng.normal(0, 0.1, (3, 1))
    truth = 0.5 + seeds.mean()
    groups = np.repeat(np.arange(40), 8)
    hits = {"patients": 0, "images": 0}
    weights = {
        "patients": cluster_weights(groups, 500, rng),
        "images": cluster_weights(range(320), 500, rng),
    }
    for _ in range(300):
        values = 0.5 + seeds + rng.normal(0, 0.2, 40)[groups] + rng.normal(0, 0.2, (3, 320))
        for unit, w in weights.items():
            low, high, _none = percentile_interval(bootstrap_mean(values, w))
            hits[unit] += low <= truth <= high
    assert 0.90 <= hits["patients"] / 300 <= 0.98
    assert hits["images"] / 300 < 0.8


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


def test_pxap_against_a_loop() -> None:
    tp, fp, area = made_up()
    weights = cluster_weights(GROUPS, 30, np.random.default_rng(9))
    for row, got in zip(weights, bootstrap_pxap(tp, fp, area, weights), strict=True):
        chosen = np.repeat(np.arange(24), row)
        each = [naive_pxap(tp[s][chosen], fp[s][chosen], area[chosen]) for s in range(2)]
        assert got == pytest.approx(np.mean(each))


def test_a_resample_without_ground_truth_is_not_defined() -> None:
    tp, fp = np.array([[[2, 1], [0, 0]]]), np.array([[[1, 0], [3, 1]]])
    weights = np.array([[1, 1], [0, 2]], np.uint16)
    replicates = bootstrap_pxap(tp, fp, [2, 0], weights)
    # Thresholds descending: precision 1/2 up to recall 1/2, then 2/6 up to recall 1.
    assert replicates[0] == pytest.approx(0.5 * 0.5 + 2 / 6 * 0.5)
    assert math.isnan(replicates[1])
    assert percentile_interval(replicates)[2] == 1


def test_what_does_not_fit_is_refused() -> None:
    tp, fp, area = made_up()
    weights = np.ones((2, 24), np.uint16)
    with pytest.raises(ValueError, match="0 and 1"):
        bootstrap_auc(LABELS * 2, np.zeros((1, 24)), weights)
    with pytest.raises(ValueError, match="labels: expected shape"):
        bootstrap_auc(LABELS[:3], np.zeros((1, 24)), weights)
    with pytest.raises(ValueError, match="scores: expected finite"):
        bootstrap_auc(LABELS, np.full((1, 24), np.nan), weights)
    with pytest.raises(ValueError, match="thresholds"):
        bootstrap_pxap(tp, fp[:, :, 1:], area, weights)
    with pytest.raises(ValueError, match="truth_area"):
        bootstrap_pxap(tp, fp, area[1:], weights)
    with pytest.raises(ValueError, match="level"):
        percentile_interval([0.5], 95)
    with pytest.raises(ValueError, match="at least one"):
        cluster_weights([], 10, np.random.default_rng(0))
