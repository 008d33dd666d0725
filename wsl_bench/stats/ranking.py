"""Paired comparisons (patients paired, seeds not) and the rank ranges that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from wsl_bench.stats.crossed import (
    Components,
    Float,
    Groups,
    check_level,
    check_pseudo,
    check_values,
    combine,
    components,
    components_of,
    group_codes,
    rounding,
)


@dataclass(frozen=True)
class PairedResult:
    """Difference of two methods on the same images, its interval, two-sided p-value and standard error."""

    difference: float
    low: float
    high: float
    df: float
    p: float
    error: float


def paired_difference(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    groups: Groups,
    level: float = 0.95,
) -> PairedResult:
    """Compare two methods as methods: their seeds random and unpaired, their patients shared.

    Args:
        a, b: (Sa, N) and (Sb, N) of one metric on the same images.
        groups: (N,) patients.

    Returns:
        The difference a - b of the grand means with its t interval. Its variance: both methods' seed
        parts, and the patient part of the per-image difference of seed means, less both interactions
        (they stand in the seed parts already), floored and with degrees of freedom as in
        `crossed.combine`. NaN interval and p with one seed of a method or one patient; p = 1 where
        the methods are the same and nothing varies.

    Raises:
        ValueError: wrong shapes, values that are not finite, or a level outside (0, 1).
    """
    check_level(level)
    left, right = check_values(a, len(groups), "a"), check_values(b, len(groups), "b")
    codes, noise = group_codes(groups), rounding(left, right)
    parts = [components(left, codes, noise), components(right, codes, noise)]
    patients = components((left.mean(0) - right.mean(0))[None], codes, noise).patients
    return _paired(float(left.mean() - right.mean()), parts, patients, noise, level)


def paired_difference_of(
    theta_a: npt.ArrayLike,
    pseudo_a: npt.ArrayLike,
    theta_b: npt.ArrayLike,
    pseudo_b: npt.ArrayLike,
    level: float = 0.95,
) -> PairedResult:
    """The same for a statistic that is no mean, from its delete-one-patient pseudo-values.

    Args:
        theta_a, theta_b: (Sa,) and (Sb,) the statistic of each seed on all patients.
        pseudo_a, pseudo_b: (Sa, C) and (Sb, C) pseudo-values on the same patients, see `jackknife`.

    Raises:
        ValueError: shapes that do not fit each other, or a level outside (0, 1).
    """
    check_level(level)
    (one, left), (other, right) = check_pseudo(theta_a, pseudo_a), check_pseudo(theta_b, pseudo_b)
    if left.shape[1] != right.shape[1]:
        raise ValueError(f"pseudo: expected the same patients, found {left.shape[1]} and {right.shape[1]}")
    noise = rounding(one, other)
    parts = [components_of(one, left), components_of(other, right)]
    patients = components((left.mean(0) - right.mean(0))[None], np.arange(left.shape[1]), noise).patients
    return _paired(float(one.mean() - other.mean()), parts, patients, noise, level)


def _paired(difference: float, parts: list[Components], patients: float, noise: float, level: float) -> PairedResult:
    if abs(difference) <= noise:
        difference = 0.0
    if math.isnan(parts[0].seed + parts[1].seed + patients):
        return PairedResult(difference, math.nan, math.nan, math.nan, math.nan, math.nan)
    variance, df = combine(parts, patients)
    if variance == 0:
        return PairedResult(difference, difference, difference, df, 1.0 if difference == 0 else 0.0, 0.0)
    t = difference / math.sqrt(variance)
    half = float(stats.t.ppf(0.5 + level / 2, df)) * math.sqrt(variance)
    p = float(2 * stats.t.sf(abs(t), df))
    return PairedResult(difference, difference - half, difference + half, df, p, math.sqrt(variance))


def smallest_detectable(result: PairedResult, level: float = 0.95, power: float = 0.8) -> float:
    """The difference that a study of this size would have found significant with probability `power`.

    The non-centrality at which the noncentral t of the comparison's degrees of freedom lies beyond the critical value
    with probability `power`, times the standard error: of one comparison by itself, without Holm's correction. NaN
    where the error is not known.
    """
    check_level(level)
    check_level(power)
    if math.isnan(result.error):
        return math.nan
    critical = float(stats.t.ppf(0.5 + level / 2, result.df))
    if math.isinf(result.df):
        return (critical + float(stats.norm.ppf(power))) * result.error

    def lacking(shift: float) -> float:
        return float(stats.nct.sf(critical, result.df, shift)) - power

    return float(optimize.brentq(lacking, 0.0, 10 * critical + 10)) * result.error


def holm(p: npt.ArrayLike) -> Float:
    """Holm's adjusted p-values (Holm 1979): the family-wise error stays at the level.

    Args:
        p: (K,) in [0, 1]; NaN (a comparison that could not be made) stays NaN and counts in K.

    Returns:
        (K,) in the same order: the running maximum of (K - i) p_(i) over the sorted values, at most 1.

    Raises:
        ValueError: another shape or values outside [0, 1].
    """
    values = np.asarray(p, np.float64)
    if values.ndim != 1 or ((values < 0) | (values > 1)).any():
        raise ValueError("p: expected one-dimensional values in [0, 1]")
    order = np.argsort(values, kind="stable")  # NaN last
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def rank_ranges(
    values: Mapping[str, npt.ArrayLike],
    groups: Groups,
    level: float = 0.95,
    higher_is_better: bool = True,
) -> dict[str, tuple[int, int]]:
    """rank_low = 1 + methods significantly better, rank_high = K - methods significantly worse.

    Args:
        values: by method, (S, N) of one metric on the same images; S may differ.
        groups: (N,) patients.
        level: 1 - family-wise error over all K (K - 1) / 2 pairs (Holm).

    Returns:
        By method, (rank_low, rank_high); a method with one seed ties with all.

    Raises:
        ValueError: as `paired_difference`.
    """
    check_level(level)
    names = list(values)
    pairs = list(combinations(names, 2))
    results = [paired_difference(values[x], values[y], groups) for x, y in pairs]
    adjusted = holm([result.p for result in results])
    better = dict.fromkeys(names, 0)
    worse = dict.fromkeys(names, 0)
    for (x, y), result, p in zip(pairs, results, adjusted, strict=True):
        if p < 1 - level:
            x_wins = (result.difference > 0) == higher_is_better
            winner, loser = (x, y) if x_wins else (y, x)
            worse[winner] += 1
            better[loser] += 1
    return {name: (1 + better[name], len(names) - worse[name]) for name in names}
