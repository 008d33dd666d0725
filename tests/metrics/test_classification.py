"""Classification metrics against scikit-learn, pairs counted one by one, and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from wsl_bench.metrics.classification import accuracy, auc, best_decision_threshold, cross_entropy

PROBABILITIES = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nextafter(1, 0), 5e-324])
CASES = st.lists(st.tuples(st.integers(0, 1), PROBABILITIES, st.integers(0, 5)), min_size=1, max_size=25)
Case = list[tuple[int, float, int]]


@settings(deadline=None, max_examples=100)
@given(CASES)
def test_auc_counts_pairs(case: Case) -> None:
    labels, scores, weights = (np.array(column) for column in zip(*case, strict=True))
    won = total = 0.0
    for positive, s, weight in case:
        for negative, t, other in case:
            if positive and not negative:
                won += weight * other * (1.0 if s > t else 0.5 if s == t else 0.0)
                total += weight * other
    found = auc(labels, scores, weights)
    assert found == pytest.approx(won / total, rel=1e-12) if total else math.isnan(found)


@pytest.mark.parametrize("decimals", [1, 8])
def test_auc_against_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    labels = rng.integers(0, 2, 300)
    scores = np.round(rng.random(300) + 0.3 * labels, decimals)
    weights = rng.random(300)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
    weighted = roc_auc_score(labels, scores, sample_weight=weights)
    assert auc(labels, scores, weights) == pytest.approx(weighted, rel=1e-12)


def test_auc_by_hand() -> None:
    assert auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert auc([0, 1], [0.5, 0.5]) == 0.5
    assert auc([True, False], [-3.0, 7.0]) == 0
    assert math.isnan(auc([1, 1], [0.1, 0.2]))
    assert math.isnan(auc([], []))
    assert math.isnan(auc([0, 1], [0.1, 0.2], weights=[0, 1]))


def test_accuracy_by_hand() -> None:
    assert accuracy([0, 1, 1, 0], [0.2, 0.5, 0.4, 0.9], 0.5) == 0.5
    assert accuracy([1], [0.5], 0.5) == 1
    assert math.isnan(accuracy([], [], 0.5))


@settings(deadline=None, max_examples=150)
@given(CASES)
def test_the_best_decision_threshold_is_the_best(case: Case) -> None:
    labels, values, _ = (np.array(column) for column in zip(*case, strict=True))
    tried = [0.0, 2.0, *values, *np.nextafter(values, 2.0)]
    best = max(np.mean((values >= t) == labels) for t in tried)
    threshold, reached = best_decision_threshold(labels, values)
    assert reached == pytest.approx(best)
    assert accuracy(labels, values, threshold) == reached


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.7], (0.4, 1.0)),
        ([1, 1], [0.4, 0.9], (0.2, 1.0)),
        ([0, 0], [0.4, 0.8], (0.9, 1.0)),
        ([0, 0], [0.4, 1.0], (math.nextafter(1, 2), 1.0)),
        # 0.25 and 0.8125 are equally accurate: the one closer to 0.5.
        ([0, 1, 0, 1], [0.125, 0.375, 0.625, 1.0], (0.25, 0.75)),
        # 0.25 and 0.75 are equally accurate and equally close: the lower.
        ([0, 1, 0, 1], [0.125, 0.375, 0.625, 0.875], (0.25, 0.75)),
    ],
)
def test_the_best_decision_threshold_by_hand(
    labels: list[int], values: list[float], expected: tuple[float, float]
) -> None:
    assert best_decision_threshold(labels, values) == pytest.approx(expected, rel=1e-15)


def test_cross_entropy() -> None:
    labels, values = [0, 1, 1, 0], [0.25, 0.5, 0.75, 0.1]
    assert cross_entropy(labels, values) == pytest.approx(log_loss(labels, values), rel=1e-12)
    assert cross_entropy([1], [0.5]) == pytest.approx(math.log(2))
    assert cross_entropy([1], [0.0]) == pytest.approx(-math.log(1e-7))
    assert cross_entropy([0], [1.0]) == pytest.approx(-math.log(1e-7))
    assert cross_entropy([1], [1.0]) == pytest.approx(1e-7)


def test_a_method_without_probabilities_has_no_classification() -> None:
    labels, nothing = [0, 1], [math.nan, math.nan]
    assert math.isnan(auc(labels, nothing))
    assert math.isnan(accuracy(labels, nothing, 0.5))
    assert math.isnan(cross_entropy(labels, nothing))
    assert all(math.isnan(value) for value in best_decision_threshold(labels, nothing))


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        auc([0, 1], [0.5])
    with pytest.raises(ValueError, match="only 0 and 1"):
        auc([0, 2], [0.5, 0.5])
    with pytest.raises(ValueError, match="found a mixture"):
        accuracy([0, 1], [0.5, math.nan], 0.5)
    with pytest.raises(ValueError, match=r"found \[0\.5, 1\.5\]"):
        cross_entropy([0, 1], [0.5, 1.5])
    with pytest.raises(ValueError, match="2 finite numbers from 0 up"):
        auc([0, 1], [0.5, 0.6], weights=[1, -1])
