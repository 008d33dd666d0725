"""The method's interval against a linear mixed model with crossed random effects, fitted by another library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from wsl_bench.stats.crossed import components, crossed_interval


def fitted(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Intercept and its standard error of y ~ 1 + (1 | seed) + (1 | patient), by restricted likelihood."""
    mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    pandas = pytest.importorskip("pandas")
    n_seeds, n_patients = values.shape
    table = pandas.DataFrame({
        "y": values.ravel(), "one": 1,
        "seed": np.repeat(np.arange(n_seeds), n_patients), "patient": np.tile(np.arange(n_patients), n_seeds),
    })  # fmt: skip
    parts = {"seed": "0 + C(seed)", "patient": "0 + C(patient)"}
    model = mixed.MixedLM.from_formula("y ~ 1", table, groups="one", re_formula="0", vc_formula=parts)
    found = model.fit(reml=True)
    return float(found.fe_params.iloc[0]), float(found.bse_fe.iloc[0])


@pytest.mark.parametrize(("n_seeds", "n_patients", "seed_sd"), [(5, 30, 0.3), (4, 40, 0.15), (10, 25, 0.5)])
def test_mean_and_standard_error_are_those_of_the_mixed_model(n_seeds: int, n_patients: int, seed_sd: float) -> None:
    """In a balanced table with positive components, restricted likelihood gives the estimates from mean squares."""
    rng = np.random.default_rng(n_patients)
    values = rng.normal(0, 1, n_patients) + rng.normal(0, seed_sd, (n_seeds, 1))
    values = 10 * (values + rng.normal(0, 0.6, (n_seeds, n_patients)))
    mean, error = fitted(values)
    ours = crossed_interval(values, range(n_patients))
    parts = components(values, np.arange(n_patients))
    assert min(parts.seed, parts.patients) > parts.interaction  # every component of the model is positive
    assert ours.mean == pytest.approx(mean)
    assert parts.variance() ** 0.5 == pytest.approx(error, rel=2e-3)
    assert ours.low < mean - 1.96 * error  # t with its degrees of freedom, not the normal
