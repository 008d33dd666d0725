"""Pseudo-values against loops that leave each patient out, and the intervals they give."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pooled_curves import made_up, naive_pxap
from scipy import stats
from sklearn.metrics import roc_auc_score

from wsl_bench.stats.crossed import crossed_interval, crossed_interval_of
from wsl_bench.stats.jackknife import pseudo_values_auc, pseudo_values_pxap


def loop_auc(labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> float:
    """NaN where scikit-learn has no answer."""
    return float(roc_auc_score(labels, scores)) if 0 < labels.sum() < len(labels) else math.nan


def test_pxap_against_a_loop() -> None:
    tp, fp, area = made_up()
    groups = np.repeat(list("hgfedcba"), [1, 5, 2, 4, 3, 1, 6, 2])
    pseudo = pseudo_values_pxap(tp, fp, area, groups)
    assert pseudo.shape == (2, 8)
    for s in range(2):
        for c, name in enumerate("abcdefgh"):
            keep = name != groups
            whole, rest = naive_pxap(tp[s], fp[s], area), naive_pxap(tp[s][keep], fp[s][keep], area[keep])
            assert pseudo[s, c] == pytest.approx(8 * whole - 7 * rest)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.integers(0, 1), st.integers(0, 4), st.integers(0, 4)),
        min_size=2,
        max_size=30,
    )
)
def test_auc_against_scikit_learn_with_ties(rows: list[tuple[str, int, int, int]]) -> None:
    groups = np.array([row[0] for row in rows])
    labels = np.array([row[1] for row in rows])
    scores = np.array([row[2:] for row in rows], np.float64).T
    names = sorted(set(groups.tolist()))
    n = len(names)
    expected = [
        [n * loop_auc(labels, s) - (n - 1) * loop_auc(labels[groups != c], s[groups != c]) for c in names]
        for s in scores
    ]
    got = pseudo_values_auc(labels, scores, groups)
    np.testing.assert_allclose(got, np.array(expected), rtol=1e-9, atol=1e-9)


def test_pseudo_values_of_a_mean_are_its_values() -> None:
    values = np.random.default_rng(11).random((3, 10))
    pseudo = 10 * values.mean(1, keepdims=True) - (values.sum(1, keepdims=True) - values)
    ours, direct = crossed_interval_of(values.mean(1), pseudo), crossed_interval(values, range(10))
    assert (ours.low, ours.mean, ours.high) == pytest.approx((direct.low, direct.mean, direct.high))
    assert (ours.df, ours.seed_sd) == pytest.approx((direct.df, direct.seed_sd))


def test_the_interval_is_centred_on_the_statistic_itself() -> None:
    tp, fp, area = made_up()
    interval = crossed_interval_of([0.4, 0.6], pseudo_values_pxap(tp, fp, area, range(24)))
    assert interval.mean == pytest.approx(0.5)
    assert (interval.low + interval.high) / 2 == pytest.approx(0.5)
    assert (interval.n_seeds, interval.n_groups) == (2, 24)
    assert interval.seed_sd == pytest.approx(np.std([0.4, 0.6], ddof=1))


def test_a_statistic_that_hangs_on_one_patient_has_no_interval() -> None:
    pseudo = pseudo_values_auc([0, 0, 1], [[0.1, 0.2, 0.3], [0.3, 0.2, 0.25]], ["x", "y", "z"])
    assert np.isnan(pseudo).tolist() == [[False, False, True]] * 2
    interval = crossed_interval_of([1.0, 0.5], pseudo)
    assert interval.mean == 0.75
    assert math.isnan(interval.low)
    tp, fp, area = made_up()
    assert np.isnan(pseudo_values_pxap(tp, fp, area, ["one"] * 24)).all()
    alone = np.where(np.arange(24) == 0, area, 0)
    assert np.isnan(pseudo_values_pxap(tp, fp, alone, range(24))[:, 0]).all()


def test_what_does_not_fit_is_refused() -> None:
    tp, fp, area = made_up()
    with pytest.raises(ValueError, match="24"):
        pseudo_values_auc([0, 1], np.zeros((1, 24)), [0, 1])
    with pytest.raises(ValueError, match="thresholds"):
        pseudo_values_pxap(tp, fp, area, range(23))
    with pytest.raises(ValueError, match="theta"):
        crossed_interval_of([0.5, 0.5, 0.5], np.zeros((2, 4)))


def test_coverage_for_auc() -> None:
    """Seeds share patients, two images each; scores of seed s separate the classes by about 1.2.

    600 studies at 0.95: standard error 0.009; 3.5 of them on either side.
    """
    rng = np.random.default_rng(12)
    truth = np.mean([stats.norm.cdf((1.2 + d) / math.sqrt(2)) for d in rng.normal(0, 0.15, 20_000)])
    labels, groups = np.repeat([0, 1], 80), np.repeat(np.arange(80), 2)
    hits, studies = 0, 600
    for _ in range(studies):
        common = rng.normal(0, math.sqrt(0.4), 80)[groups] + rng.normal(0, math.sqrt(0.24), 160)
        scores = common + rng.normal(0, 0.6, (6, 160)) + labels * (1.2 + rng.normal(0, 0.15, (6, 1)))
        above = scores[:, labels == 1][:, :, None] > scores[:, labels == 0][:, None, :]
        interval = crossed_interval_of(above.mean((1, 2)), pseudo_values_auc(labels, scores, groups))
        hits += interval.low <= truth <= interval.high
    assert 0.92 <= hits / studies <= 0.98
