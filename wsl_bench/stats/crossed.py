"""The estimand *the method*: training seeds random and crossed with patients.

Model: Y_sc = mu + a_s + b_c + e_sc for seed s and patient c. The variance of the grand mean is
var(a) / S + var(b) / C + var(e) / (S C). The two one-way estimates below each hold the last term
once, so together twice; the interaction mean square takes it off once (Satterthwaite 1946 for the
degrees of freedom of such a combination).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; NaN where the interval is not defined."""

    mean: float
    low: float
    high: float
    df: float
    seed_sd: float
    n_seeds: int
    n_groups: int


@dataclass(frozen=True)
class Components:
    """Parts of the variance of a grand mean over S seeds and C patients; see the module."""

    seed: float
    patients: float
    interaction: float
    n_seeds: int
    n_groups: int

    def variance(self) -> float:
        """seed + patients - interaction, floored at the larger of the two: each alone is, on
        average, at most the variance sought."""
        return max(self.seed + self.patients - self.interaction, self.seed, self.patients)


def group_codes(groups: Sequence[object] | npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Patients as codes 0 .. C-1, in the order of their sorted ids."""
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)


def components(values: Float, codes: npt.NDArray[np.int64]) -> Components:
    """Variance components of the mean of `values`.

    Args:
        values: (S, N) per seed and image, no NaN. codes: (N,) patient of each image.

    Formulas, with T_sc the total of patient c under seed s, n_c its images, N all images, m_s the mean
    of seed s and m the grand mean (a ratio of totals, right for patients of unequal size):
        seed = var_s(m_s) / S
        patients = C / (C - 1) * sum_c (mean_s T_sc - m n_c)^2 / N^2
        interaction = C / (C - 1) * sum_sc r_sc^2 / ((S - 1) S N^2),
        r_sc = (T_sc - m_s n_c) - (mean_s T_sc - m n_c)
    """
    n_seeds, n_images = values.shape
    n_groups = int(codes.max()) + 1
    sizes = np.bincount(codes, minlength=n_groups).astype(np.float64)
    totals = np.stack([np.bincount(codes, row, minlength=n_groups) for row in values])
    seed_means = values.mean(1)
    deviations = totals - seed_means[:, None] * sizes
    mean_deviation = deviations.mean(0)
    if n_groups < 2:
        return Components(math.nan, math.nan, math.nan, n_seeds, n_groups)
    scale = n_groups / (n_groups - 1) / n_images**2
    patients = float(scale * np.square(mean_deviation).sum())
    if n_seeds < 2:
        return Components(math.nan, patients, math.nan, n_seeds, n_groups)
    interaction = scale * np.square(deviations - mean_deviation).sum() / ((n_seeds - 1) * n_seeds)
    return Components(float(seed_means.var(ddof=1)) / n_seeds, patients, float(interaction), n_seeds, n_groups)


def degrees_of_freedom(parts: Sequence[Components], patients: float, interaction: float, variance: float) -> float:
    """Satterthwaite: v^2 / sum(v_i^2 / df_i), for one or two sets of seeds over the same patients."""
    denominator = patients**2 / (parts[0].n_groups - 1)
    for part in parts:
        denominator += part.seed**2 / (part.n_seeds - 1)
    smallest = min(part.n_seeds for part in parts)
    denominator += interaction**2 / ((smallest - 1) * (parts[0].n_groups - 1))
    return variance**2 / denominator if denominator > 0 else math.inf


def crossed_interval(
    values: npt.ArrayLike, groups: Sequence[object] | npt.NDArray[np.generic], level: float = 0.95
) -> Interval:
    """Mean over images and seeds, and its interval with both random.

    Args:
        values: (S, N) of a metric, seed by image. groups: (N,) patients.

    Returns:
        The interval, not clipped to the metric's range; NaN bounds with one seed or one patient.

    Raises:
        ValueError: wrong shapes or values that are not finite.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] != len(groups) or not array.size:
        raise ValueError(f"values: expected shape (seeds, {len(groups)}), found {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("values: expected finite numbers")
    return _interval(float(array.mean()), array.mean(1), components(array, group_codes(groups)), level)


def crossed_interval_of(theta: npt.ArrayLike, pseudo: npt.ArrayLike, level: float = 0.95) -> Interval:
    """The same for a statistic that is no mean, from its delete-one-patient pseudo-values.

    Args:
        theta: (S,) the statistic of each seed on all patients; the interval is centred on its mean.
        pseudo: (S, C) pseudo-values, see `jackknife`.
    """
    estimates, values = np.asarray(theta, np.float64), np.asarray(pseudo, np.float64)
    parts = components(values, np.arange(values.shape[1]))
    if len(estimates) > 1:
        # The seeds' own statistics carry the spread between seeds without the jackknife's bias.
        parts = Components(
            float(estimates.var(ddof=1)) / len(estimates), parts.patients, parts.interaction, parts.n_seeds,
            parts.n_groups,
        )  # fmt: skip
    return _interval(float(estimates.mean()), estimates, parts, level)


def _interval(mean: float, seed_means: Float, parts: Components, level: float) -> Interval:
    seed_sd = float(seed_means.std(ddof=1)) if parts.n_seeds > 1 else math.nan
    if math.isnan(parts.seed) or math.isnan(parts.patients):
        return Interval(mean, math.nan, math.nan, math.nan, seed_sd, parts.n_seeds, parts.n_groups)
    variance = parts.variance()
    df = degrees_of_freedom([parts], parts.patients, parts.interaction, variance)
    half = float(stats.t.ppf(0.5 + level / 2, df)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, df, seed_sd, parts.n_seeds, parts.n_groups)
