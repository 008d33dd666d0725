"""The crossed interval: its parts against loops and ANOVA, its coverage against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from wsl_bench.stats.crossed import components, crossed_interval, group_codes

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
    with pytest.raises(ValueError, match="finite"):
        crossed_interval(np.array([[0.1, math.nan]]), [0, 1])
    with pytest.raises(ValueError, match="shape"):
        crossed_interval(np.zeros((2, 3)), [0, 1])
    assert list(group_codes(["b", "a", "b"])) == [1, 0, 1]
