"""Paired comparisons and rank ranges: hand cases, error rates by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wsl_bench.stats.ranking import PairedResult, holm, paired_difference, rank_ranges, smallest_detectable


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
    assert holm([]).shape == (0,)
    # A comparison that could not be made still counts: three hypotheses.
    assert holm([0.01, math.nan, 0.02]) == pytest.approx([0.03, math.nan, 0.04], nan_ok=True)
    for wrong in ([-0.1], [1.1], [[0.5]]):
        with pytest.raises(ValueError, match="0, 1"):
            holm(wrong)


@settings(deadline=None)  # the first example imports statsmodels
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_difference_against_loops_with_unequal_seeds_and_patients() -> None:
    rng = np.random.default_rng(10)
    sizes = [1, 4, 2, 3, 1, 5, 2]
    groups = np.repeat(list("gabdefc"), sizes)
    n, n_groups = len(groups), len(sizes)
    patient = rng.normal(0, 0.3, n)
    a = patient + rng.normal(0, 0.3, n) + rng.normal(0, 0.1, (3, 1)) + rng.normal(0, 0.05, (3, n))
    b = patient + rng.normal(0, 0.1, (6, 1)) + rng.normal(0, 0.05, (6, n))
    members = [[i for i in range(n) if groups[i] == g] for g in sorted(set(groups.tolist()))]

    seed_parts, interactions = [], []
    for m in (a, b):
        s_count = len(m)
        seed_parts.append(np.var([row.mean() for row in m], ddof=1) / s_count)
        squares = 0.0
        for inside in members:
            r = [sum(row[i] for i in inside) - row.mean() * len(inside) for row in m]
            squares += sum((x - sum(r) / s_count) ** 2 for x in r)
        interactions.append(n_groups / (n_groups - 1) * squares / ((s_count - 1) * s_count * n**2))
    d = [a[:, i].mean() - b[:, i].mean() for i in range(n)]
    mean = sum(d) / n
    between = sum((sum(d[i] for i in inside) - mean * len(inside)) ** 2 for inside in members)
    patients = n_groups / (n_groups - 1) * between / n**2
    v = sum(seed_parts) + patients - sum(interactions)
    assert v > max(sum(seed_parts), patients)  # not floored
    last = n_groups - 1
    df = v**2 / (
        seed_parts[0] ** 2 / 2 + seed_parts[1] ** 2 / 5 + patients**2 / last
        + interactions[0] ** 2 / (2 * last) + interactions[1] ** 2 / (5 * last)
    )  # fmt: skip
    result = paired_difference(a, b, groups, level=0.9)
    assert (result.difference, result.df) == pytest.approx((mean, df))
    half = stats.t.ppf(0.95, df) * math.sqrt(v)
    assert (result.low, result.high) == pytest.approx((mean - half, mean + half))
    assert result.p == pytest.approx(2 * stats.t.sf(abs(mean) / math.sqrt(v), df))
    back = paired_difference(b, a, groups, level=0.9)
    assert (back.difference, back.low, back.p) == pytest.approx((-mean, -mean - half, result.p))


def test_order_of_the_seeds_is_not_used() -> None:
    values = study(np.random.default_rng(11), [0.0, 0.02])
    one = paired_difference(values["m0"], values["m1"], range(80))
    other = paired_difference(values["m0"][::-1], values["m1"], range(80))
    assert (one.low, one.high, one.p) == pytest.approx((other.low, other.high, other.p))


@pytest.mark.parametrize("seed_sd", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("seeds", [(5, 5), (5, 10), (10, 10)])
def test_two_equal_methods_differ_in_one_comparison_of_twenty(seeds: tuple[int, int], seed_sd: float) -> None:
    """1,000 studies at 0.05: standard error 0.007; 3.5 of them on either side."""
    rng = np.random.default_rng(12)
    groups = np.repeat(np.arange(50), 2)
    false = 0
    for _ in range(1000):
        patient = rng.normal(0, 0.2, 50)[groups]
        methods = []
        for s in seeds:
            own = patient + rng.normal(0, 0.1, 50)[groups]
            methods.append(own + rng.normal(0, seed_sd, (s, 1)) + rng.normal(0, 0.08, (s, 100)))
        a, b = methods
        false += paired_difference(a, b, groups).p < 0.05
    assert 0.025 <= false / 1000 <= 0.075


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
    assert rank_ranges({}, range(20)) == {}
    # The same maps under more seeds differ in the last bit of their means, and in nothing else.
    for value in (0.1, 0.7, 1 / 3):
        result = paired_difference(np.full((5, 2569), value), np.full((7, 2569), value), range(2569))
        assert (result.difference, result.p) == (0.0, 1.0)
        assert paired_difference(np.full((5, 20), value), np.full((7, 20), value + 1e-6), range(20)).p == 0.0


def test_one_seed_among_many_ties_with_all() -> None:
    values = study(np.random.default_rng(13), [0.0, 0.3, 0.6])
    values["m1"] = values["m1"][:1]
    assert rank_ranges(values, range(80)) == {"m0": (2, 3), "m1": (1, 3), "m2": (1, 2)}


def test_what_does_not_fit_is_refused() -> None:
    fits = np.random.default_rng(14).random((3, 6))
    with pytest.raises(ValueError, match="b: expected shape"):
        paired_difference(fits, fits[:, 1:], range(6))
    with pytest.raises(ValueError, match="a: expected finite"):
        paired_difference(fits * math.nan, fits, range(6))
    with pytest.raises(ValueError, match="level"):
        rank_ranges({"a": fits}, range(6), level=5)


def test_clear_orders_are_found_in_both_directions() -> None:
    values = study(np.random.default_rng(2), [0.0, 0.3, 0.3])
    groups = range(80)
    assert rank_ranges(values, groups) == {"m0": (3, 3), "m1": (1, 2), "m2": (1, 2)}
    assert rank_ranges(values, groups, higher_is_better=False) == {"m0": (1, 1), "m1": (2, 3), "m2": (2, 3)}


def test_family_wise_error_under_the_null() -> None:
    rng = np.random.default_rng(3)
    false = 0
    for _ in range(400):
        ranges = rank_ranges(study(rng, [0.0] * 4), range(80))
        false += any(r != (1, 4) for r in ranges.values())
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


@pytest.mark.parametrize("df", [1.0, 2.0, 4.5, 30.0, math.inf])
def test_the_smallest_detectable_difference_has_the_power_it_says(df: float) -> None:
    """Exactly, by the noncentral t; on many degrees of freedom t quantiles are enough (Bloom 1995)."""
    result = PairedResult(0.0, -1.0, 1.0, df, 1.0, 0.02)
    smallest = smallest_detectable(result)
    critical = stats.t.ppf(0.975, df)
    beyond = (
        stats.norm.sf(critical - smallest / 0.02) if math.isinf(df) else stats.nct.sf(critical, df, smallest / 0.02)
    )
    assert beyond == pytest.approx(0.8)
    if df >= 30:
        assert smallest == pytest.approx((critical + stats.t.ppf(0.8, df)) * 0.02, rel=0.01)


def test_the_smallest_detectable_difference_is_found_in_four_studies_of_five() -> None:
    rng = np.random.default_rng(4)
    null = [study(rng, [0.0, 0.0]) for _ in range(200)]
    groups = np.arange(80)
    sizes = [smallest_detectable(paired_difference(s["m0"], s["m1"], groups)) for s in null]
    shift = float(np.mean(sizes))
    found = [paired_difference(*study(rng, [shift, 0.0]).values(), groups).p < 0.05 for _ in range(1500)]
    # The size is itself estimated, so the power is 0.8 on average, not to the digit.
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
    one_seed = paired_difference(null[0]["m0"][:1], null[0]["m1"][:1], groups)
    assert math.isnan(smallest_detectable(one_seed))
