"""Two rows of a run against each other, on the same images: for both estimands, with what the study could show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.build import Leaderboard
from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.measure import LOCATED_METRICS, Row
from wsl_bench.params import did_you_mean
from wsl_bench.stats.bootstrap import bca_interval, bootstrap_mean, cluster_weights, percentile_interval
from wsl_bench.stats.ranking import PairedResult, paired_difference, smallest_detectable

Float = npt.NDArray[np.float64]

# Means over images: what pairs image by image. AUC and PxAP are no means; their intervals stand in the table.
METRICS = (*LOCATED_METRICS, "fpr_negative", "accuracy")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """A minus B.

    Attributes:
        dataset, rule, metric: what is compared; `a`, `b` the rows' names, `seeds` their numbers of trainings.
        means: of A and of B over images and seeds.
        method: *the method*: seeds random and unpaired, patients paired (`stats.ranking.paired_difference`).
        smallest: the difference that the first estimand would have found in four studies of five.
        percentile, bca: *these trainings*: seeds fixed, patients resampled; 95 % intervals of both kinds.
        p_fixed: two-sided share of resamples on the other side of zero.
        by_image: (n,) difference of the seed means of each image; `n_groups` patients.
    """

    dataset: str
    rule: str
    metric: str
    a: str
    b: str
    seeds: tuple[int, int]
    means: tuple[float, float]
    method: PairedResult
    smallest: float
    percentile: tuple[float, float]
    bca: tuple[float, float]
    p_fixed: float
    by_image: Float
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
    datasets = list(dict.fromkeys(values["dataset"] for values, _ in board.measured))
    if dataset is None and len(datasets) > 1:
        raise UsageError(f"--dataset: the run has several ({', '.join(datasets)}); say which.")
    chosen = datasets[0] if dataset is None and datasets else dataset
    rows = {
        row_name(values): row
        for values, row in board.measured
        if (values["dataset"], values["threshold_rule"]) == (chosen, rule)
    }
    if not rows:
        rules = sorted({values["threshold_rule"] for values, _ in board.measured})
        raise UsageError(f"no finished rows of dataset {chosen}, threshold {rule}; there are {datasets}, {rules}.")
    for name in (a, b):
        if name not in rows:
            raise UsageError(f"{name}: no such row{did_you_mean(name, rows)} There are {', '.join(rows)}.")
    left, right, groups = _values(rows[a], rows[b], metric)
    return _compared(str(chosen), rule, metric, (a, b), left, right, groups)


def _compared(
    dataset: str,
    rule: str,
    metric: str,
    names: tuple[str, str],
    left: Float,
    right: Float,
    groups: npt.NDArray[np.str_],
) -> Comparison:
    method = paired_difference(left, right, groups)
    by_image = left.mean(0) - right.mean(0)
    weights = cluster_weights(groups, RESAMPLES, np.random.default_rng(0))
    replicates = bootstrap_mean(by_image[None], weights)
    low, high, _ = percentile_interval(replicates)
    # One is added on both sides: a share of 10,000 resamples cannot show that p is 0 (Davison & Hinkley 1997).
    beyond = min(int((replicates <= 0).sum()), int((replicates >= 0).sum()))
    return Comparison(
        dataset=dataset,
        rule=rule,
        metric=metric,
        a=names[0],
        b=names[1],
        seeds=(len(left), len(right)),
        means=(float(left.mean()), float(right.mean())),
        method=method,
        smallest=smallest_detectable(method),
        percentile=(low, high),
        bca=bca_interval(by_image[None], groups, replicates),
        p_fixed=min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1)),
        by_image=by_image,
        n_groups=len(set(groups.tolist())),
    )


def _values(a: Row, b: Row, metric: str) -> tuple[Float, Float, npt.NDArray[np.str_]]:
    """(S, n) of both on the same images, and their patients."""
    if not np.array_equal(a.first.image_ids, b.first.image_ids):
        raise UsageError("the two rows were not measured on the same images.")
    if metric == "accuracy":
        if not (a.classifies and b.classifies):
            raise UsageError("--metric accuracy: one of the two does not classify.")
        return a.correct(), b.correct(), a.first.groups
    if metric == "fpr_negative":
        own, groups = a.fpr_negative()
        other = b.fpr_negative()[0]
    else:
        own, groups = a.located(metric)
        other = b.located(metric)[0]
    if not own.shape[1]:
        raise UsageError(f"--metric {metric}: no test image has it.")
    return own, other, groups
