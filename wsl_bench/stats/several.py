"""Methods over several datasets: average ranks, how often one beats another, how many images go well.

Ranks: Demsar, JMLR 2006 (Friedman's test, Nemenyi's critical difference). Win probabilities and performance
profiles, with seeds and patients as sources of chance: Agarwal et al., NeurIPS 2021, whose resampled runs are
replaced here by the crossed model (`crossed`), the same for every interval of the package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from wsl_bench.stats.crossed import (
    Components,
    Float,
    Groups,
    check_level,
    check_values,
    combine,
    components,
    group_codes,
    rounding,
)


@dataclass(frozen=True)
class AverageRanks:
    """Ranks of K methods over D datasets.

    Attributes:
        ranks: (K,) average rank, 1 the best; ties share theirs.
        p: of Friedman's test that all are equal; NaN with fewer than three methods or two datasets.
        critical_difference: average ranks that differ by less cannot be told apart; NaN with one method.
    """

    ranks: Float
    p: float
    critical_difference: float


@dataclass(frozen=True)
class Estimate:
    """A mean with its variance and degrees of freedom (infinite where nothing varies, NaN where unknown)."""

    mean: float
    variance: float
    df: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """mean +- t sqrt(variance); NaN where the variance is not known."""
        check_level(level)
        if math.isnan(self.variance):
            return math.nan, math.nan
        half = float(stats.t.ppf(0.5 + level / 2, self.df)) * math.sqrt(self.variance)
        return self.mean - half, self.mean + half


def average_ranks(scores: npt.ArrayLike, level: float = 0.95) -> AverageRanks:
    """Average ranks of methods over datasets, and what of them is chance.

    Args:
        scores: (D, K) a figure of each method on each dataset, higher is better.
        level: 1 - family-wise error over all pairs.

    Returns:
        Ranks with CD = q sqrt(K (K + 1) / (6 D)), q the studentized range's quantile for K means over sqrt(2).

    Raises:
        ValueError: another shape, or a figure that is missing: it must not count as the worst.
    """
    check_level(level)
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"scores: expected shape (datasets, methods), found {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("scores: expected a finite figure of every method on every dataset")
    n_datasets, k = table.shape
    ranks = stats.rankdata(-table, axis=1).mean(0)
    p = math.nan
    if k > 2 and n_datasets > 1:
        # All ties: the statistic is 0 / 0, and nothing speaks against equality.
        p = 1.0 if np.ptp(table, axis=1).max() == 0 else float(stats.friedmanchisquare(*table.T).pvalue)
    q = float(stats.studentized_range.ppf(level, k, np.inf)) / math.sqrt(2) if k > 1 else math.nan
    return AverageRanks(ranks, p, q * math.sqrt(k * (k + 1) / (6 * n_datasets)))


def rank_groups(ranks: npt.ArrayLike, critical_difference: float) -> list[tuple[int, ...]]:
    """The largest sets of methods whose average ranks lie within the critical difference, two methods at least.

    Args:
        ranks: (K,) average ranks.

    Returns:
        Places in `ranks`, best first; no set lies within another.
    """
    values = np.asarray(ranks, np.float64)
    order = np.argsort(values, kind="stable")
    ordered, groups, last = values[order], [], -1
    for first in range(len(ordered)):
        end = int(np.searchsorted(ordered, ordered[first] + critical_difference * (1 + 1e-12), side="right")) - 1
        if end > first and end > last:
            groups.append(tuple(int(i) for i in order[first : end + 1]))
            last = end
    return groups


def win_probability(a: npt.ArrayLike, b: npt.ArrayLike, groups: Groups) -> Estimate:
    """Probability that a training of A has a higher value on a test image than a training of B; ties one half.

    Args:
        a, b: (Sa, N) and (Sb, N) of one metric on the same images, higher is better.
        groups: (N,) patients.

    Returns:
        The mean over images and over all pairs of trainings; variance and degrees of freedom as for a paired
        difference: each method's seeds random (its values averaged over the other's trainings), patients shared.

    Raises:
        ValueError: wrong shapes or values that are not finite.
    """
    left, right = check_values(a, len(groups), "a"), check_values(b, len(groups), "b")
    codes, noise = group_codes(groups), rounding(left, right)
    apart = left[:, None] - right[None]
    wins = np.where(np.abs(apart) <= noise, 0.5, (apart > 0).astype(np.float64))
    parts = [components(wins.mean(1), codes), components(wins.mean(0), codes)]
    patients = components(wins.mean((0, 1))[None], codes).patients
    return _estimate(float(wins.mean()), parts, patients)


def share_above(values: npt.ArrayLike, groups: Groups, at: npt.ArrayLike) -> list[Estimate]:
    """Performance profile: the share of images with a value above each of `at`, seeds and patients random.

    Args:
        values: (S, N).
        groups: (N,) patients.
        at: (T,).

    Raises:
        ValueError: wrong shapes or values that are not finite.
    """
    array, codes = check_values(values, len(groups)), group_codes(groups)
    out = []
    for level in np.asarray(at, np.float64):
        above = (array > level).astype(np.float64)
        parts = components(above, codes)
        out.append(_estimate(float(above.mean()), [parts], parts.patients))
    return out


def over_datasets(estimates: Sequence[Estimate]) -> Estimate:
    """The plain mean of estimates on different datasets, each of which counts the same.

    The datasets are those of the study and no sample of datasets: chance is in seeds and patients alone.
    """
    n = len(estimates)
    if not n:
        raise ValueError("estimates: expected at least one dataset")
    variance = sum(e.variance for e in estimates) / n**2
    below = sum((e.variance / n**2) ** 2 / e.df for e in estimates if e.variance != 0)
    return Estimate(sum(e.mean for e in estimates) / n, variance, variance**2 / below if below else math.inf)


def _estimate(mean: float, parts: Sequence[Components], patients: float) -> Estimate:
    if math.isnan(sum(part.seed for part in parts) + patients):
        return Estimate(mean, math.nan, math.nan)
    return Estimate(mean, *combine(parts, patients))
