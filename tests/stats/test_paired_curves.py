"""Comparisons of statistics that are no means: from pseudo-values, against means, scipy and simulation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from pooled_curves import made_up
from scipy import stats
from sklearn.metrics import roc_auc_score

from wsl_bench.stats.bootstrap import bca_interval_of
from wsl_bench.stats.jackknife import pseudo_values_auc, pseudo_values_pxap
from wsl_bench.stats.ranking import paired_difference, paired_difference_of

Float = npt.NDArray[np.float64]


def leave_one_out(values: Float) -> Float:
    """Pseudo-values of the mean of each row, by leaving columns out one at a time."""
    n = values.shape[1]
    return np.array([[n * row.mean() - (n - 1) * np.delete(row, c).mean() for c in range(n)] for row in values])


def test_of_means_it_is_the_comparison_of_means() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 12)), rng.random((5, 12)) + 0.1
    expected = paired_difference(a, b, range(12))
    found = paired_difference_of(a.mean(1), leave_one_out(a), b.mean(1), leave_one_out(b))
    for name in ("difference", "low", "high", "df", "p", "error"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name)), name


def test_the_same_method_twice_shows_no_difference() -> None:
    tp, fp, area = made_up()
    pseudo = pseudo_values_pxap(tp, fp, area, range(24))
    found = paired_difference_of([0.4, 0.5], pseudo, [0.4, 0.5], pseudo)
    assert found.difference == 0
    assert found.p == 1
    one_seed = paired_difference_of([0.4], pseudo[:1], [0.4, 0.5], pseudo)
    assert math.isnan(one_seed.p)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="same patients"):
        paired_difference_of([0.5, 0.6], np.ones((2, 4)), [0.5, 0.6], np.ones((2, 5)))
    with pytest.raises(ValueError, match="theta"):
        paired_difference_of([0.5], np.ones((2, 4)), [0.5, 0.6], np.ones((2, 4)))
    with pytest.raises(ValueError, match="patients"):
        bca_interval_of(0.5, np.ones((2, 3)), np.ones(10))


def test_bca_of_a_difference_of_aucs_is_that_of_scipy() -> None:
    """No Monte Carlo error between the two: same replicates in, same interval out."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 20)
    a, b = labels + rng.normal(0, 1, 40), 0.5 * labels + rng.normal(0, 1, 40)

    def difference(y: Float, one: Float, other: Float) -> float:
        return float(roc_auc_score(y, one) - roc_auc_score(y, other)) if 0 < y.sum() < len(y) else math.nan

    peer = stats.bootstrap((labels, a, b), difference, paired=True, n_resamples=600, method="BCa", vectorized=False,
                           rng=np.random.default_rng(2))  # fmt: skip
    pseudo = pseudo_values_auc(labels, np.stack([a, b]), range(40))
    draws = peer.bootstrap_distribution
    ours = bca_interval_of(difference(labels, a, b), pseudo[0] - pseudo[1], draws)
    assert ours == pytest.approx(tuple(peer.confidence_interval), rel=1e-9)
    # Replicates in which a class is missing are left out.
    assert bca_interval_of(difference(labels, a, b), pseudo[0] - pseudo[1], [*draws, math.nan]) == ours


def test_two_equal_classifiers_differ_in_one_comparison_of_twenty() -> None:
    """600 studies under the null: standard error of the share 0.009."""
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 60)
    found, studies = 0, 600
    for _ in range(studies):
        common = rng.normal(0, 0.7, 120)
        aucs, pseudo = [], []
        for n_seeds in (5, 6):
            scores = common + labels * (1 + rng.normal(0, 0.2, (n_seeds, 1))) + rng.normal(0, 0.7, (n_seeds, 120))
            above = scores[:, labels == 1][:, :, None] > scores[:, labels == 0][:, None, :]
            aucs.append(above.mean((1, 2)))
            pseudo.append(pseudo_values_auc(labels, scores, range(120)))
        found += paired_difference_of(aucs[0], pseudo[0], aucs[1], pseudo[1]).p < 0.05
    assert 0.02 <= found / studies <= 0.085
