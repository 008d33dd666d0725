"""The estimand *the method*: training seeds random and crossed with patients.

Model: Y_sc = mu + a_s + b_c + e_sc for seed s and patient c. The variance of the grand mean is
var(a) / S + var(b) / C + var(e) / (S C). The two one-way estimates below each hold the last term
once, so together twice; the interaction mean square takes it off once (Searle, Casella & McCulloch,
Variance Components, 1992, chapter 4; Satterthwaite 1946 for the degrees of freedom).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Float = npt.NDArray[np.float64]
Groups = Sequence[object] | npt.NDArray[np.generic]


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
        """seed + patients - interaction, floored; see `combine`."""
        return combine([self], self.patients)[0]


def group_codes(groups: Groups) -> npt.NDArray[np.int64]:
    """Patients as codes 0 .. C-1, in the order of their sorted ids.

    Args:
        groups: (N,) ids of any hashable kind; ids that do not sort are taken as they come.

    Raises:
        ValueError: an id is NaN: images without a patient are not one patient.
    """
    if isinstance(groups, np.ndarray) and groups.ndim != 1:
        raise ValueError(f"groups: expected one id an image, found shape {groups.shape}")
    if isinstance(groups, np.ndarray) and groups.dtype.kind in "iuU":
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)
    # Not numpy.unique for the rest: it makes 1 and "1" one patient, and takes tuples apart.
    ids: list[object] = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    distinct = dict.fromkeys(ids)
    if any(key != key for key in distinct):
        raise ValueError("groups: expected an id for every image, found NaN")
    try:
        order = sorted(distinct)  # type: ignore[type-var]
    except TypeError:
        order = list(distinct)
    code = {key: c for c, key in enumerate(order)}
    return np.array([code[key] for key in ids], np.int64)


def check_values(values: npt.ArrayLike, n_images: int, name: str = "values") -> Float:
    """`values` as (S, N) float64.

    Raises:
        ValueError: another shape, no seed, no image, or values that are not finite.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] != n_images or not array.size:
        raise ValueError(f"{name}: expected shape (seeds, {n_images}), found {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers")
    return array


def check_level(level: float) -> None:
    """ValueError unless `level` is a share between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level: expected a share between 0 and 1, found {level}")


def rounding(*arrays: Float) -> float:
    """What a mean of these values may be off by rounding alone: smaller is taken as zero."""
    return 16 * float(np.finfo(np.float64).eps) * max(float(np.abs(a).max()) for a in arrays)


def components(values: Float, codes: npt.NDArray[np.int64], noise: float | None = None) -> Components:
    """Variance components of the mean of `values`.

    Args:
        values: (S, N) per seed and image, no NaN.
        codes: (N,) patient of each image.
        noise: standard errors up to this are rounding, that is zero; by default of the values' size.

    Formulas, with T_sc the total of patient c under seed s, n_c its images, N all images, m_s the mean
    of seed s and m the grand mean (a ratio of totals, right for patients of unequal size):
        seed = var_s(m_s) / S
        patients = C / (C - 1) * sum_c (mean_s T_sc - m n_c)^2 / N^2
        interaction = C / (C - 1) * sum_sc r_sc^2 / ((S - 1) S N^2),
        r_sc = (T_sc - m_s n_c) - (mean_s T_sc - m n_c)
    NaN where a part needs two seeds or two patients and there is one.
    """
    n_seeds, n_images = values.shape
    n_groups = int(codes.max()) + 1
    floor = (rounding(values) if noise is None else noise) ** 2
    if n_groups < 2:
        return Components(math.nan, math.nan, math.nan, n_seeds, n_groups)
    sizes = np.bincount(codes, minlength=n_groups).astype(np.float64)
    totals = np.stack([np.bincount(codes, row, minlength=n_groups) for row in values])
    seed_means = values.mean(1)
    deviations = totals - seed_means[:, None] * sizes
    mean_deviation = deviations.mean(0)
    scale = n_groups / (n_groups - 1) / n_images**2
    patients = _real(float(scale * np.square(mean_deviation).sum()), floor)
    if n_seeds < 2:
        return Components(math.nan, patients, math.nan, n_seeds, n_groups)
    rest = float(scale * np.square(deviations - mean_deviation).sum() / ((n_seeds - 1) * n_seeds))
    seed = float(seed_means.var(ddof=1)) / n_seeds
    return Components(_real(seed, floor), patients, _real(rest, floor), n_seeds, n_groups)


def combine(parts: Sequence[Components], patients: float) -> tuple[float, float]:
    """Variance and degrees of freedom of a mean, or of a difference of means on the same patients.

    Args:
        parts: one for each set of seeds: their seed and interaction parts are used.
        patients: the patient part of the mean or of the difference.

    Returns:
        v = seeds + patients - interactions, but at least the seeds' and at least the patients' part
        (each alone is, on average, at most the variance sought), and Satterthwaite's
        v^2 / sum(v_i^2 / df_i), with the interactions in the sum where they were subtracted.
        Infinite degrees of freedom where nothing varies.
    """
    seed = sum(part.seed for part in parts)
    difference = seed + patients - sum(part.interaction for part in parts)
    variance = max(difference, seed, patients)
    last = parts[0].n_groups - 1
    denominator = patients**2 / last + sum(part.seed**2 / (part.n_seeds - 1) for part in parts)
    if variance == difference:
        denominator += sum(part.interaction**2 / ((part.n_seeds - 1) * last) for part in parts)
    return variance, variance**2 / denominator if denominator > 0 else math.inf


def crossed_interval(values: npt.ArrayLike, groups: Groups, level: float = 0.95) -> Interval:
    """Mean over images and seeds, and its interval with both random.

    Args:
        values: (S, N) of a metric, seed by image, in the metric's unit.
        groups: (N,) patients.
        level: share of intervals that hold the truth.

    Returns:
        m +- t_df * sqrt(v) (see `components`, `combine`), not clipped to the metric's range. NaN bounds
        with one seed or one patient; both bounds on the mean where nothing varies.

    Raises:
        ValueError: wrong shapes, values that are not finite, or a level outside (0, 1).
    """
    array = check_values(values, len(groups))
    return _interval(float(array.mean()), array.mean(1), components(array, group_codes(groups)), level)


def crossed_interval_of(theta: npt.ArrayLike, pseudo: npt.ArrayLike, level: float = 0.95) -> Interval:
    """The same for a statistic that is no mean, from its delete-one-patient pseudo-values.

    Args:
        theta: (S,) the statistic of each seed on all patients; the interval is centred on its mean.
        pseudo: (S, C) pseudo-values, see `jackknife`; NaN anywhere (the statistic hangs on one
            patient) leaves the bounds undefined.

    Raises:
        ValueError: shapes that do not fit each other, or a level outside (0, 1).
    """
    estimates, values = check_pseudo(theta, pseudo)
    return _interval(float(estimates.mean()), estimates, components_of(estimates, values), level)


def check_pseudo(theta: npt.ArrayLike, pseudo: npt.ArrayLike) -> tuple[Float, Float]:
    """`theta` as (S,) and `pseudo` as (S, C) float64.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    estimates, values = np.asarray(theta, np.float64), np.asarray(pseudo, np.float64)
    if values.ndim != 2 or not values.size or estimates.shape != values.shape[:1]:
        found = f"{estimates.shape} and {values.shape}"
        raise ValueError(f"theta, pseudo: expected shapes (seeds,) and (seeds, patients), found {found}")
    return estimates, values


def components_of(estimates: Float, pseudo: Float) -> Components:
    """`components` of a statistic that is no mean: (S,) by seed, and (S, C) pseudo-values."""
    parts = components(pseudo, np.arange(pseudo.shape[1]))
    if parts.n_seeds < 2:
        return parts
    # The seeds' own statistics carry the spread between seeds without the jackknife's bias.
    seed = _real(float(estimates.var(ddof=1)) / parts.n_seeds, rounding(estimates) ** 2)
    return Components(seed, parts.patients, parts.interaction, parts.n_seeds, parts.n_groups)


def _interval(mean: float, seed_means: Float, parts: Components, level: float) -> Interval:
    check_level(level)
    n_seeds, n_groups = parts.n_seeds, parts.n_groups
    seed_sd = float(seed_means.std(ddof=1)) if n_seeds > 1 else math.nan
    if math.isnan(parts.seed) or math.isnan(parts.patients):
        return Interval(mean, math.nan, math.nan, math.nan, seed_sd, n_seeds, n_groups)
    variance, df = combine([parts], parts.patients)
    half = float(stats.t.ppf(0.5 + level / 2, df)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, df, seed_sd, n_seeds, n_groups)


def _real(variance: float, floor: float) -> float:
    # Equal values differ in the last bit of their means; as variances such bits would decide ranks.
    return 0.0 if variance <= floor else variance
