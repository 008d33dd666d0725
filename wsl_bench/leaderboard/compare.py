"""Two rows of a run against each other, on the same images: for both estimands, with what the study could show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.build import RANKED, Leaderboard
from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.measure import CURVE_METRICS, MEAN_METRICS, Row
from wsl_bench.leaderboard.rows import Values
from wsl_bench.leaderboard.sample import Sample, paired, paired_bca
from wsl_bench.params import did_you_mean
from wsl_bench.stats.bootstrap import cluster_weights, percentile_interval
from wsl_bench.stats.crossed import rounding
from wsl_bench.stats.ranking import PairedResult, holm, smallest_detectable

Float = npt.NDArray[np.float64]

METRICS = (*MEAN_METRICS, *CURVE_METRICS)
LOWER_IS_BETTER = ("fpr", "fnr", "empty_rate", "fpr_negative")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """A minus B.

    Attributes:
        dataset, rule, metric: what is compared; `a`, `b` the rows' names, `seeds` their numbers of trainings.
        means: of A and of B over trainings, and over images where the metric is a mean over them.
        method: *the method*: seeds random and unpaired, patients paired (`stats.ranking.paired_difference`).
        p_holm: its p-value corrected by Holm over all `n_pairs` pairs of the table's complete rows; NaN where one
            of the two is not among them.
        smallest: the difference that the first estimand would have found in four studies of five.
        percentile, bca: *these trainings*: seeds fixed, patients resampled; 95 % intervals of both kinds.
        p_fixed: two-sided share of resamples on the other side of zero. NaN with one patient, as the intervals.
        n_undefined: resamples in which the metric is not defined (AUC without one of the classes), left out.
        parts: (n,) difference of the seed means of each image, or of each patient's pseudo-value (AUC, PxAP).
        by_image: which of the two.
        n_groups: patients.
    """

    dataset: str
    rule: str
    metric: str
    a: str
    b: str
    seeds: tuple[int, int]
    means: tuple[float, float]
    method: PairedResult
    p_holm: float
    n_pairs: int
    smallest: float
    percentile: tuple[float, float]
    bca: tuple[float, float]
    p_fixed: float
    n_undefined: int
    parts: Float
    by_image: bool
    n_groups: int


def compare(
    board: Leaderboard, a: str, b: str, metric: str, *, dataset: str | None = None, rule: str = "val"
) -> Comparison:
    """Compare two rows of one dataset and threshold rule, images paired.

    Args:
        a, b: names as the table shows them, parameters included.
        dataset: may be left out where the run has one.

    Raises:
        UsageError: no such metric, dataset, rule or row; or a metric that one of the rows does not have.
    """
    if metric not in METRICS:
        raise UsageError(f"--metric {metric}: expected one of {', '.join(METRICS)}.")
    chosen, table = _table(board, dataset, rule)
    for name in (a, b):
        if name not in table:
            raise UsageError(f"{name}: no such row{did_you_mean(name, table)} There are {', '.join(table)}.")
    left, right = (_sample(table[name][1], name, metric) for name in (a, b))
    if not np.array_equal(table[a][1].first.image_ids, table[b][1].first.image_ids):
        raise UsageError("the two rows were not measured on the same images.")
    method = paired(left, right)
    p_holm, n_pairs = _corrected(table, a, b, metric)
    weights = cluster_weights(left.groups, RESAMPLES, np.random.default_rng(0))
    # Equal values under other numbers of seeds differ in their last bits, and in nothing else.
    noise = rounding(left.values, right.values)
    replicates = _without(left.resampled(weights) - right.resampled(weights), noise)
    low, high, n_undefined = percentile_interval(replicates) if left.n_patients > 1 else (math.nan, math.nan, 0)
    return Comparison(
        dataset=chosen,
        rule=rule,
        metric=metric,
        a=a,
        b=b,
        seeds=(len(left.estimates), len(right.estimates)),
        means=(float(left.estimates.mean()), float(right.estimates.mean())),
        method=method,
        p_holm=p_holm,
        n_pairs=n_pairs,
        smallest=smallest_detectable(method),
        percentile=(low, high),
        bca=paired_bca(left, right, replicates),
        p_fixed=_p_fixed(replicates[~np.isnan(replicates)]) if left.n_patients > 1 else math.nan,
        n_undefined=n_undefined,
        parts=_without(left.values.mean(0) - right.values.mean(0), noise),
        by_image=left.is_mean,
        n_groups=left.n_patients,
    )


def _table(board: Leaderboard, dataset: str | None, rule: str) -> tuple[str, dict[str, tuple[Values, Row]]]:
    """The rows of one dataset and threshold rule, by the names that the table shows."""
    datasets = list(dict.fromkeys(values["dataset"] for values, _ in board.measured))
    if dataset is None and len(datasets) > 1:
        raise UsageError(f"--dataset: the run has several ({', '.join(datasets)}); say which.")
    chosen = datasets[0] if dataset is None and datasets else dataset
    rows = {
        row_name(values): (values, row)
        for values, row in board.measured
        if (values["dataset"], values["threshold_rule"]) == (chosen, rule)
    }
    if not rows:
        rules = sorted({values["threshold_rule"] for values, _ in board.measured})
        if not datasets:
            raise UsageError("no cell of the run has finished.")
        there = f"datasets {', '.join(datasets)}, thresholds {', '.join(rules)}"
        raise UsageError(f"no finished rows of dataset {chosen}, threshold {rule}; there are {there}.")
    return str(chosen), rows


def _sample(row: Row, name: str, metric: str) -> Sample:
    sample = row.sample(metric)
    if sample is None:
        why = f"{name} does not classify" if metric in ("accuracy", "auc") else "no test image has it"
        raise UsageError(f"--metric {metric}: {why}.")
    if np.isnan(sample.estimates).any():
        raise UsageError(f"--metric {metric}: it is not defined on these test images (one of the classes is missing).")
    return sample


def _corrected(table: dict[str, tuple[Values, Row]], a: str, b: str, metric: str) -> tuple[float, int]:
    """The pair's p-value among those of all pairs of complete rows (Holm), and how many pairs there are."""
    complete = [name for name, (values, _) in table.items() if values["status"] in RANKED]
    samples = {name: sample for name in complete if (sample := table[name][1].sample(metric)) is not None}
    pairs = list(combinations(samples, 2))
    wanted = [set(pair) == {a, b} for pair in pairs]
    if not any(wanted):
        return float("nan"), len(pairs)
    adjusted = holm([paired(samples[x], samples[y]).p for x, y in pairs])
    return float(adjusted[wanted.index(True)]), len(pairs)


def _without(values: Float, noise: float) -> Float:
    return np.where(np.abs(values) <= noise, 0.0, values)


def _p_fixed(replicates: Float) -> float:
    if not len(replicates):
        return math.nan
    # One is added on both sides: a share of 10,000 resamples cannot show that p is 0 (Davison & Hinkley 1997).
    beyond = min(int((replicates <= 0).sum()), int((replicates >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(replicates) + 1))
