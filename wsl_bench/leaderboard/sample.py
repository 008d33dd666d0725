"""A metric of one row as statistics take it: seed by seed, image by image or patient by patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsl_bench.stats.bootstrap import bca_interval, bca_interval_of
from wsl_bench.stats.crossed import Interval, crossed_interval, crossed_interval_of
from wsl_bench.stats.ranking import PairedResult, paired_difference, paired_difference_of

Float = npt.NDArray[np.float64]
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

    @property
    def n_patients(self) -> int:
        """Patients of the images that are resampled."""
        return len(set(self.groups.tolist()))

    def interval(self) -> Interval:
        """Of *the method*: seeds random and crossed with patients."""
        if self.is_mean:
            return crossed_interval(self.values, self.units)
        return crossed_interval_of(self.estimates, self.values)


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
