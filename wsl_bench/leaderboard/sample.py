"""A metric of one row as statistics take it: seed by seed, image by image or patient by patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsl_bench.leaderboard.measure import LOCATED_METRICS, Float, Row
from wsl_bench.metrics import pixel
from wsl_bench.stats.bootstrap import bca_interval, bca_interval_of, bootstrap_auc, bootstrap_mean, bootstrap_pxap
from wsl_bench.stats.crossed import Interval, crossed_interval, crossed_interval_of
from wsl_bench.stats.jackknife import pseudo_values_auc, pseudo_values_pxap
from wsl_bench.stats.ranking import PairedResult, paired_difference, paired_difference_of

MEAN_METRICS = (*LOCATED_METRICS, "fpr_negative", "accuracy")
CURVE_METRICS = ("auc", "pxap")
Weights = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Sample:
    """A metric of one row.

    Attributes:
        estimates: (S,) the metric of each training.
        values: of a mean, (S, n) its value on each image; of a curve metric, (S, C) each patient's pseudo-value.
        units: (n,) patient of each column of `values`, or (C,) for pseudo-values.
        groups: (N,) patient of each image that is resampled.
        resampled: (B, N) weights to (B,) replicates of the mean over trainings.
        is_mean: whether the metric is a mean over images.
    """

    estimates: Float
    values: Float
    units: npt.NDArray[np.generic]
    groups: npt.NDArray[np.str_]
    resampled: Callable[[Weights], Float]
    is_mean: bool

    def interval(self) -> Interval:
        """Of *the method*: seeds random and crossed with patients."""
        if self.is_mean:
            return crossed_interval(self.values, self.units)
        return crossed_interval_of(self.estimates, self.values)


def sample_of(row: Row, metric: str) -> Sample | None:
    """The metric of a row; None where the row does not have it (it does not classify, no image is of that kind)."""
    if metric in ("accuracy", "auc") and not row.classifies:
        return None
    if metric == "auc":
        return _auc(row)
    if metric == "pxap":
        return _pxap(row)
    values, groups = _image_values(row, metric)
    if not values.shape[1]:
        return None
    return Sample(values.mean(1), values, groups, groups, lambda weights: bootstrap_mean(values, weights), True)


def paired(a: Sample, b: Sample) -> PairedResult:
    """A minus B as methods: patients paired, seeds not."""
    if a.is_mean:
        return paired_difference(a.values, b.values, a.units)
    return paired_difference_of(a.estimates, a.values, b.estimates, b.values)


def paired_bca(a: Sample, b: Sample, replicates: Float) -> tuple[float, float]:
    """BCa interval of A minus B for *these trainings*, from replicates of the difference."""
    difference = (a.values.mean(0) - b.values.mean(0))[None]
    if a.is_mean:
        return bca_interval(difference, a.units, replicates)
    return bca_interval_of(float(a.estimates.mean() - b.estimates.mean()), difference[0], replicates)


def _auc(row: Row) -> Sample:
    labels, scores, groups = row.first.labels, row.probability, row.first.groups
    pseudo = pseudo_values_auc(labels, scores, groups)
    units = np.arange(pseudo.shape[1])
    return Sample(row.aucs(), pseudo, units, groups, lambda weights: bootstrap_auc(labels, scores, weights), False)


def _pxap(row: Row) -> Sample | None:
    tp, fp, area = row.curves()
    if not len(area):
        return None
    groups = row.first.groups[row.first.located]
    theta = np.array([pixel.pxap(t, f, area) for t, f in zip(tp, fp, strict=True)])
    pseudo = pseudo_values_pxap(tp, fp, area, groups)
    units = np.arange(pseudo.shape[1])
    return Sample(theta, pseudo, units, groups, lambda weights: bootstrap_pxap(tp, fp, area, weights), False)


def _image_values(row: Row, metric: str) -> tuple[Float, npt.NDArray[np.str_]]:
    """(S, n) values of a metric that is a mean over images, and the groups of those images."""
    if metric in LOCATED_METRICS:
        return row.located(metric)
    if metric == "fpr_negative":
        return row.fpr_negative()
    return row.correct(), row.first.groups
