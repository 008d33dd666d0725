"""The crossed interval: its parts against loops and ANOVA, its coverage against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wsl_bench.stats.crossed import Components, combine, components, crossed_interval, group_codes

Float = npt.NDArray[np.float64]


def simulate(
    rng: np.random.Generator, seeds: int, sizes: npt.NDArray[np.int64], sd: tuple[float, float, float]
) -> tuple[Float, npt.NDArray[np.int64]]:
    """Seed + patient + interaction effects, and image noise, around 0.5; (values, groups)."""
    seed_sd, patient_sd, rest_sd = sd
    groups = np.repeat(np.arange(len(sizes)), sizes)
    patient = rng.normal(0, patient_sd, len(sizes))[groups]
    crossed = rng.normal(0, rest_sd, (seeds, len(sizes)))[:, groups]
    noise = rng.normal(0, 0.05, (seeds, len(groups)))
    return 0.5 + rng.normal(0, seed_sd, (seeds, 1)) + patient + crossed + noise, groups


def test_components_against_loops() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 6, 12)
    values, groups = simulate(rng, 4, sizes, (0.1, 0.2, 0.1))
    parts = components(values, groups)
    n_seeds, n = values.shape
    m = values.mean()
    patients = interaction = 0.0
    for c in range(12):
        total = {s: sum(values[s, i] for i in range(n) if groups[i] == c) for s in range(n_seeds)}
        mean_total = sum(total.values()) / n_seeds
        patients += (mean_total - m * sizes[c]) ** 2
        for s in range(n_seeds):
            r = (total[s] - values[s].mean() * sizes[c]) - (mean_total - m * sizes[c])
            interaction += r**2
    assert parts.seed == pytest.approx(np.var([values[s].mean() for s in range(n_seeds)], ddof=1) / n_seeds)
    assert parts.patients == pytest.approx(12 / 11 * patients / n**2)
    assert parts.interaction == pytest.approx(12 / 11 * interaction / ((n_seeds - 1) * n_seeds * n**2))


def test_one_image_a_patient_is_the_classical_two_way_table() -> None:
    """v = (MS_seeds + MS_patients - MS_residual) / (S C), the textbook estimate."""
    rng = np.random.default_rng(1)
    values, groups = simulate(rng, 5, np.ones(30, np.int64), (0.1, 0.2, 0.1))
    s, c = values.shape
    rows, columns, grand = values.mean(1, keepdims=True), values.mean(0, keepdims=True), values.mean()
    ms_seeds = c * ((rows - grand) ** 2).sum() / (s - 1)
    ms_patients = s * ((columns - grand) ** 2).sum() / (c - 1)
    ms_rest = ((values - rows - columns + grand) ** 2).sum() / ((s - 1) * (c - 1))
    variance = (ms_seeds + ms_patients - ms_rest) / (s * c)
    assert components(values, groups).variance() == pytest.approx(variance)
    df = (ms_seeds + ms_patients - ms_rest) ** 2 / (
        ms_seeds**2 / (s - 1) + ms_patients**2 / (c - 1) + ms_rest**2 / ((s - 1) * (c - 1))
    )
    interval = crossed_interval(values, groups)
    assert interval.df == pytest.approx(df)
    half = stats.t.ppf(0.975, df) * math.sqrt(variance)
    assert (interval.low, interval.high) == pytest.approx((grand - half, grand + half))
    assert interval.seed_sd == pytest.approx(values.mean(1).std(ddof=1))


def test_variance_agrees_with_a_mixed_model() -> None:
    """statsmodels' crossed random effects (REML) on a balanced table give the same standard error."""
    smf = pytest.importorskip("statsmodels.formula.api")
    import pandas as pd

    rng = np.random.default_rng(2)
    values, groups = simulate(rng, 6, np.ones(40, np.int64), (0.15, 0.2, 0.1))
    s, c = values.shape
    frame = pd.DataFrame(
        {"y": values.ravel(), "seed": np.repeat(np.arange(s), c), "patient": np.tile(groups, s), "all": 1}
    )
    model = smf.mixedlm("y ~ 1", frame, groups="all", re_formula="0",
                        vc_formula={"seed": "0 + C(seed)", "patient": "0 + C(patient)"})  # fmt: skip
    fit = model.fit(reml=True)
    assert crossed_interval(values, groups).mean == pytest.approx(float(fit.params["Intercept"]), abs=1e-6)
    assert components(values, groups).variance() == pytest.approx(float(fit.bse["Intercept"]) ** 2, rel=0.02)


@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize("seed_sd", [0.0, 0.05, 0.15])
def test_coverage_of_known_truth(seeds: int, seed_sd: float) -> None:
    rng = np.random.default_rng(seeds * 1000 + int(seed_sd * 100))
    studies, hits = 1500, 0
    for _ in range(studies):
        values, groups = simulate(rng, seeds, rng.integers(1, 5, 60), (seed_sd, 0.2, 0.1))
        interval = crossed_interval(values, groups)
        hits += interval.low <= 0.5 <= interval.high
    # 1,500 studies at 0.95: standard error 0.0056; 3.5 of them on either side.
    assert 0.93 <= hits / studies <= 0.97


def test_patients_alone_are_not_enough_when_seeds_differ() -> None:
    rng = np.random.default_rng(7)
    hits = crossed_hits = 0
    for _ in range(300):
        values, groups = simulate(rng, 5, np.ones(200, np.int64), (0.1, 0.2, 0.05))
        mean = values.mean(0)
        half = 1.96 * mean.std(ddof=1) / math.sqrt(len(groups))
        hits += abs(mean.mean() - 0.5) <= half
        interval = crossed_interval(values, groups)
        crossed_hits += interval.low <= 0.5 <= interval.high
    assert hits / 300 < 0.75
    assert crossed_hits / 300 > 0.9


def test_edge_cases() -> None:
    one_seed = crossed_interval(np.random.default_rng(0).random((1, 9)), range(9))
    assert math.isnan(one_seed.low)
    assert math.isnan(one_seed.seed_sd)
    assert 0 < one_seed.mean < 1
    one_patient = crossed_interval(np.random.default_rng(0).random((3, 9)), [0] * 9)
    assert math.isnan(one_patient.high)
    constant = crossed_interval(np.full((3, 9), 0.25), range(9))
    assert (constant.low, constant.mean, constant.high) == (0.25, 0.25, 0.25)
    for value in (0.1, 0.7, 1 / 3):  # their means are off in the last bit
        flat = crossed_interval(np.full((7, 2569), value), range(2569))
        assert flat.low == flat.mean == flat.high == pytest.approx(value)
    with pytest.raises(ValueError, match="finite"):
        crossed_interval(np.array([[0.1, math.nan]]), [0, 1])
    with pytest.raises(ValueError, match="shape"):
        crossed_interval(np.zeros((2, 3)), [0, 1])
    with pytest.raises(ValueError, match="shape"):
        crossed_interval(np.zeros((2, 0)), [])
    with pytest.raises(ValueError, match="level"):
        crossed_interval(np.zeros((2, 2)), [0, 1], level=95)


def test_patients_may_have_any_hashable_id() -> None:
    assert group_codes(["b", "a", "b"]).tolist() == [1, 0, 1]
    assert group_codes(np.array([30, 4, 30])).tolist() == [1, 0, 1]
    assert group_codes([("nih", 2), ("nih", 1), ("rsna", 1), ("nih", 2)]).tolist() == [1, 0, 2, 1]
    assert group_codes([1, "1", 1]).tolist() == [0, 1, 0]  # two patients, which do not sort
    assert group_codes([]).tolist() == []
    with pytest.raises(ValueError, match="NaN"):
        group_codes([1.0, math.nan])
    with pytest.raises(ValueError, match="one id an image"):
        group_codes(np.zeros((2, 2)))


def test_floor_and_degrees_of_freedom_by_hand() -> None:
    plain = Components(seed=0.04, patients=0.01, interaction=0.005, n_seeds=5, n_groups=11)
    v, df = combine([plain], plain.patients)
    assert v == pytest.approx(0.045)
    assert df == pytest.approx(0.045**2 / (0.04**2 / 4 + 0.01**2 / 10 + 0.005**2 / 40))
    # More interaction than patients: nothing is subtracted, and no degree of freedom is spent on it.
    floored = Components(seed=0.04, patients=0.01, interaction=0.02, n_seeds=5, n_groups=11)
    v, df = combine([floored], floored.patients)
    assert v == 0.04
    assert df == pytest.approx(0.04**2 / (0.04**2 / 4 + 0.01**2 / 10))
    assert combine([Components(0.0, 0.0, 0.0, 5, 11)], 0.0) == (0.0, math.inf)


def test_patients_of_unequal_size_weigh_by_their_images() -> None:
    """The mean is over images; its variance is the delta method's for a ratio of totals."""
    values = np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    groups = ["p", "p", "p", "q"]
    interval = crossed_interval(values, groups)
    assert interval.mean == 0.25
    # Totals less their share: 0 - 3/4 and 1 - 1/4; C / (C - 1) = 2, N^2 = 16.
    assert components(values, group_codes(groups)).patients == pytest.approx(2 * 2 * 0.75**2 / 16)
    assert (interval.n_seeds, interval.n_groups, interval.seed_sd) == (2, 2, 0.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-5, 5), st.floats(0.01, 100))
def test_order_names_shift_and_scale_do_not_matter(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    values, groups = simulate(rng, 3, rng.integers(1, 4, 8), (0.1, 0.2, 0.1))
    base = crossed_interval(values, groups)
    mixed = rng.permutation(len(groups))
    names = np.array(list("hcagbdfe"))[groups]
    moved = crossed_interval(shift + scale * values[rng.permutation(3)][:, mixed], names[mixed])
    expected = [shift + scale * x for x in (base.mean, base.low, base.high)]
    assert [moved.mean, moved.low, moved.high] == pytest.approx(expected, rel=1e-7, abs=1e-7)
    assert moved.df == pytest.approx(base.df, rel=1e-6)
