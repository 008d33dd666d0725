"""Paired comparisons (patients paired, seeds not) and the rank ranges that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from wsl_bench.stats.crossed import components, degrees_of_freedom, group_codes

Float = npt.NDArray[np.float64]
ROUNDING = 1e-12


@dataclass(frozen=True)
class PairedResult:
    """Difference of two methods on the same images, its interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    df: float
    p: float


def paired_difference(
    a: npt.ArrayLike, b: npt.ArrayLike, groups: Sequence[object] | npt.NDArray[np.generic], level: float = 0.95
) -> PairedResult:
    """Compare two methods as methods: their seeds random and unpaired, their patients shared.

    Args:
        a, b: (Sa, N) and (Sb, N) of one metric on the same images. groups: (N,) patients.

    Returns:
        The difference of the grand means. Its variance: both methods' seed parts, and the patient
        part of the per-image difference of seed means, less both interactions (they stand in the
        seed parts already), floored as in `crossed`.
    """
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    codes = group_codes(groups)
    parts = [components(left, codes), components(right, codes)]
    difference = float(left.mean() - right.mean())
    patients = components((left.mean(0) - right.mean(0))[None], codes).patients
    seed = parts[0].seed + parts[1].seed
    interaction = parts[0].interaction + parts[1].interaction
    if math.isnan(seed) or math.isnan(patients):
        return PairedResult(difference, math.nan, math.nan, math.nan, math.nan)
    variance = max(seed + patients - interaction, seed, patients)
    if variance < ROUNDING**2:  # constants: their means differ in the last bit at most
        p = 1.0 if abs(difference) < ROUNDING else 0.0
        return PairedResult(difference, difference, difference, math.inf, p)
    df = degrees_of_freedom(parts, patients, interaction, variance)
    t = difference / math.sqrt(variance)
    half = float(stats.t.ppf(0.5 + level / 2, df)) * math.sqrt(variance)
    p = float(2 * stats.t.sf(abs(t), df))
    return PairedResult(difference, difference - half, difference + half, df, p)


def holm(p: npt.ArrayLike) -> Float:
    """Holm's adjusted p-values (Holm 1979): the family-wise error stays at the level."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def rank_ranges(
    values: Mapping[str, npt.ArrayLike], groups: Sequence[object] | npt.NDArray[np.generic],
    level: float = 0.95, higher_is_better: bool = True,
) -> dict[str, tuple[int, int]]:  # fmt: skip
    """rank_low = 1 + methods significantly better, rank_high = K - methods significantly worse.

    Args:
        values: by method, (S, N) of one metric on the same images. groups: (N,) patients.
    """
    names = list(values)
    pairs = list(combinations(names, 2))
    results = [paired_difference(values[x], values[y], groups) for x, y in pairs]
    adjusted = holm([result.p for result in results]) if pairs else np.zeros(0)
    better = dict.fromkeys(names, 0)
    worse = dict.fromkeys(names, 0)
    for (x, y), result, p in zip(pairs, results, adjusted, strict=True):
        if p < 1 - level:
            x_wins = (result.difference > 0) == higher_is_better
            winner, loser = (x, y) if x_wins else (y, x)
            worse[winner] += 1
            better[loser] += 1
    return {name: (1 + better[name], len(names) - worse[name]) for name in names}
