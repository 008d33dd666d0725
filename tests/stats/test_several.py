"""Ranks over datasets, win probabilities and profiles: hand cases, another library, loops, simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from wsl_bench.stats.several import (
    Estimate,
    average_ranks,
    over_datasets,
    rank_groups,
    share_above,
    win_probability,
)


def test_ranks_by_hand() -> None:
    found = average_ranks([[0.9, 0.5, 0.1], [0.8, 0.8, 0.2]])
    assert found.ranks.tolist() == [1.25, 1.75, 3.0]
    assert found.p == pytest.approx(stats.friedmanchisquare([0.9, 0.8], [0.5, 0.8], [0.1, 0.2]).pvalue)
    assert average_ranks([[0.5, 0.5, 0.5]] * 3).p == 1
    assert math.isnan(average_ranks([[0.5, 0.4]] * 3).p)


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)])
def test_critical_difference_is_demsars_table(k: int, q: float) -> None:
    """Demsar 2006, table 5a, alpha = 0.05."""
    scores = np.random.default_rng(k).random((14, k))
    assert average_ranks(scores).critical_difference == pytest.approx(q * math.sqrt(k * (k + 1) / (6 * 14)), rel=1e-3)


def test_a_missing_figure_is_refused_and_not_the_worst() -> None:
    with pytest.raises(ValueError, match="every method on every dataset"):
        average_ranks([[0.5, math.nan], [0.4, 0.3]])
    with pytest.raises(ValueError, match="datasets, methods"):
        average_ranks([0.5, 0.4])


def test_groups_by_hand() -> None:
    assert rank_groups([1.0, 3.4, 1.5, 2.4], 1.0) == [(0, 2), (2, 3), (3, 1)]
    assert rank_groups([1.0, 2.0, 3.0], 0.5) == []
    assert rank_groups([2.0, 1.0, 3.0], 5.0) == [(1, 0, 2)]
    assert rank_groups([1.1, 2.2], 1.1) == [(0, 1)]  # a difference of just the critical one is not beyond it


def test_ranks_of_equal_methods_differ_in_one_study_of_twenty() -> None:
    """Family-wise, five methods on ten datasets, 2,000 studies: standard error 0.005; the test is conservative."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(2000):
        found = average_ranks(rng.random((10, 5)))
        wrong += float(np.ptp(found.ranks)) > found.critical_difference
    assert 0.02 <= wrong / 2000 <= 0.065


def test_wins_against_loops() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 4, (3, 9)) / 10, rng.integers(0, 4, (2, 9)) / 10
    groups = [0, 0, 1, 1, 1, 2, 3, 4, 4]
    total = 0.0
    for row in a:
        for other in b:
            for x, y in zip(row, other, strict=True):
                total += 1.0 if x > y else 0.5 if x == y else 0.0
    found = win_probability(a, b, groups)
    assert found.mean == pytest.approx(total / (3 * 2 * 9))
    assert win_probability(b, a, groups).mean == pytest.approx(1 - found.mean)
    assert win_probability(b, a, groups).interval() == pytest.approx(tuple(1 - x for x in found.interval()[::-1]))
    assert win_probability(a, a, groups).mean == 0.5
    assert math.isnan(win_probability(a[:1], b, groups).interval()[0])
    always = win_probability(a + 1, b, groups)
    assert always.interval() == (1, 1)


def test_the_interval_of_a_win_probability_holds_the_truth() -> None:
    """P(A > B) = Phi(0.3 / sd of the difference); 800 studies: standard error 0.008."""
    rng = np.random.default_rng(2)
    seed_sd, noise_sd, shift = 0.25, 0.7, 0.3
    truth = float(stats.norm.cdf(shift / math.sqrt(2 * (seed_sd**2 + noise_sd**2))))
    held, studies = 0, 800
    for _ in range(studies):
        patient = rng.normal(0, 1, 80)
        a = shift + patient + rng.normal(0, seed_sd, (6, 1)) + rng.normal(0, noise_sd, (6, 80))
        b = patient + rng.normal(0, seed_sd, (6, 1)) + rng.normal(0, noise_sd, (6, 80))
        low, high = win_probability(a, b, range(80)).interval()
        held += low <= truth <= high
    assert 0.925 <= held / studies <= 0.98


def test_profile_against_loops() -> None:
    rng = np.random.default_rng(3)
    values, at = rng.random((4, 11)), [0.0, 0.3, 0.9, 1.0]
    for level, found in zip(at, share_above(values, range(11), at), strict=True):
        assert found.mean == pytest.approx(sum(v > level for v in values.ravel()) / values.size)
    assert share_above(values, range(11), [1.0])[0].interval() == (0, 0)


def test_mean_over_datasets_by_hand() -> None:
    found = over_datasets([Estimate(0.2, 0.01, 4.0), Estimate(0.6, 0.03, 10.0)])
    assert (found.mean, found.variance) == pytest.approx((0.4, 0.01))
    assert found.df == pytest.approx(0.01**2 / (0.0025**2 / 4 + 0.0075**2 / 10))
    assert over_datasets([Estimate(0.2, 0.0, math.inf)] * 2).interval() == (0.2, 0.2)
    assert math.isnan(over_datasets([Estimate(0.2, math.nan, math.nan), Estimate(0.2, 0.1, 3.0)]).interval()[0])
    with pytest.raises(ValueError, match="at least one"):
        over_datasets([])
