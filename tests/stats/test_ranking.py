"""Paired comparisons and rank ranges: hand cases, error rates by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from wsl_bench.stats.ranking import holm, paired_difference, rank_ranges


def study(rng: np.random.Generator, shifts: list[float], seed_sd: float = 0.02) -> dict[str, np.ndarray]:
    """Methods that share patients, five seeds each, one image a patient."""
    patient = rng.normal(0, 0.2, 80)
    return {
        f"m{i}": 0.5 + shift + patient + rng.normal(0, seed_sd, (5, 1)) + rng.normal(0, 0.08, (5, 80))
        for i, shift in enumerate(shifts)
    }


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_many_seeds_without_spread_give_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(40), rng.random(40)
    seeds = np.ones((50, 1))
    result = paired_difference(a * seeds, b * seeds, range(40))
    peer = stats.ttest_rel(a, b)
    assert result.p == pytest.approx(peer.pvalue)
    assert result.difference == pytest.approx((a - b).mean())
    assert (result.low, result.high) == pytest.approx(tuple(peer.confidence_interval()))


def test_identical_methods_tie_and_one_seed_decides_nothing() -> None:
    values = np.random.default_rng(1).random((5, 20))
    flat = np.tile(values.mean(0), (5, 1))
    assert paired_difference(flat, flat, range(20)).p == 1.0
    assert math.isnan(paired_difference(values[:1], values[1:2], range(20)).p)
    assert rank_ranges({"a": flat, "b": flat}, range(20)) == {"a": (1, 2), "b": (1, 2)}
    assert rank_ranges({"a": flat}, range(20)) == {"a": (1, 1)}


def test_clear_orders_are_found_in_both_directions() -> None:
    values = study(np.random.default_rng(2), [0.0, 0.3, 0.3])
    groups = range(80)
    assert rank_ranges(values, groups) == {"m0": (3, 3), "m1": (1, 2), "m2": (1, 2)}
    assert rank_ranges(values, groups, higher_is_better=False) == {"m0": (1, 1), "m1": (2, 3), "m2": (2, 3)}


def test_family_wise_error_under_the_null() -> None:
    rng = np.random.default_rng(3)
    false = sum(any(r != (1, 4) for r in rank_ranges(study(rng, [0.0] * 4), range(80)).values()) for _ in range(400))
    # 5 % of 400 is 20, standard error 4.4.
    assert false <= 20 + 2 * 4.4


def test_pairing_patients_sees_what_an_unpaired_test_cannot() -> None:
    rng = np.random.default_rng(4)
    paired = unpaired = 0
    for _ in range(100):
        values = study(rng, [0.0, 0.05], seed_sd=0.005)
        paired += paired_difference(values["m1"], values["m0"], range(80)).p < 0.05
        unpaired += stats.ttest_ind(values["m1"].mean(0), values["m0"].mean(0)).pvalue < 0.05
    assert paired > 90
    assert unpaired < 50


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3])
def test_rounding_does_not_decide_between_equal_constants(value: float) -> None:
    a, b = np.full((5, 2569), value), np.full((7, 2569), value)
    assert paired_difference(a, b, range(2569)).p == 1.0
