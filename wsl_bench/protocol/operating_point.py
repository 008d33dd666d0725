"""The operating point: checkpoint, map scale and threshold, fitted on validation and frozen.

This is the only module that searches a threshold, and what it searches on is typed: a
`ValidationSplit` can only be made from the validation part of a prepared dataset. The code that
evaluates test takes an `OperatingPoint` and has nothing to search with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.prepared import load_truth, load_weak
from wsl_bench.data.views import TruthView, WeakView
from wsl_bench.metrics import pixel
from wsl_bench.metrics.box import box_curves, level_index
from wsl_bench.metrics.classification import best_decision_threshold
from wsl_bench.metrics.criteria import BOXACC_LEVELS, LocatedCounts, best_threshold, box_accuracy, objective
from wsl_bench.metrics.grid import threshold_index
from wsl_bench.protocol.rules import Rules
from wsl_bench.protocol.score_maps import Maps, RawScores, Scaling, to_truth_resolution


@dataclass(frozen=True)
class ValidationSplit:
    """Validation images with their ground truth: the declared budget of boxes."""

    weak: WeakView
    truth: TruthView

    @staticmethod
    def load(folder: Path) -> ValidationSplit:
        """From a prepared dataset."""
        return ValidationSplit(load_weak(folder, "val"), load_truth(folder, "val"))

    def stamp(self) -> str:
        """Hash of everything an operating point is fitted on."""
        return f"{self.weak.sha256}:{self.truth.sha256}"


@dataclass(frozen=True)
class OperatingPoint:
    """What is frozen before test is touched.

    Attributes:
        epoch: of the chosen checkpoint (0: no training).
        map_scale, map_factor: see `Scaling`.
        threshold: k / 1000 with k from 1 to 1000, or None where none was fitted.
        criterion: name of what was maximised, and `value`, what it reached on validation.
        decision_threshold: of the class probability; None where the method does not classify.
        fitted_on: stamp of the validation split.
    """

    epoch: int
    map_scale: str
    map_factor: float
    threshold: float | None
    criterion: str
    value: float | None
    decision_threshold: float | None
    fitted_on: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the record."""
        return asdict(self)

    def k(self) -> int | None:
        """The frozen threshold's place in the grid, from 1 to 1000."""
        return None if self.threshold is None else threshold_index(self.threshold)

    def scaling(self) -> Scaling:
        """The frozen scaling of raw maps."""
        return Scaling(self.map_scale, self.map_factor)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Fit:
    """Best scaling and threshold of one checkpoint on validation."""

    scaling: Scaling
    threshold: float
    value: float


def fit_threshold(raw: Maps, competing: tuple[Scaling, ...], val: ValidationSplit, rules: Rules) -> Fit:
    """The scaling and threshold that are best by the run's criterion over located validation positives.

    Args:
        raw: (N, h, w) raw maps of the validation split.
        competing: the scalings to try; ties go to the earlier one.

    Returns:
        The fit; among tied thresholds the lowest, k / 1000 with k from 1 to 1000.
    """
    ways = {scaling: partial(_at_truth_resolution, scaling, raw, val.weak.frames) for scaling in competing}
    return best_fit(ways, val, rules)


def best_fit(competing: Mapping[Scaling, Callable[[int], Maps]], val: ValidationSplit, rules: Rules) -> Fit:
    """The same for maps however they come: each scaling gives the map of an image at its ground truth's resolution."""
    fits = []
    for scaling, map_of in competing.items():
        counts = _located_counts(map_of, val, boxes=rules.criterion == "boxacc")
        curve = objective(rules.criterion, counts, rules.fnr_bound())
        k = int(best_threshold(curve))
        fits.append(Fit(scaling, k / 1000, float(curve[k])))
    return max(fits, key=lambda fit: fit.value)


def _at_truth_resolution(scaling: Scaling, raw: Maps, frames: Sequence[Letterbox], i: int) -> Maps:
    return to_truth_resolution(scaling.apply(raw[i]), frames[i])


def _located_counts(map_of: Callable[[int], Maps], val: ValidationSplit, *, boxes: bool) -> LocatedCounts:
    """Counts of the located validation positives at every threshold, with those of boxes where asked for."""
    tp, fp, area, boxacc = [], [], [], []
    for i in np.flatnonzero(val.truth.located):
        frame, truth = val.weak.frames[i], val.truth.truths[i]
        mask, scores = truth.pixels(frame.height, frame.width), map_of(int(i))
        inside, outside = pixel.curves_from_histograms(*pixel.pixel_histograms(scores, mask))
        tp.append(inside)
        fp.append(outside)
        area.append(np.count_nonzero(mask))
        if boxes:
            hits = box_curves(scores, truth.boxes).hits_iou
            boxacc.append(box_accuracy([hits[level_index(level)] for level in BOXACC_LEVELS]))
    return LocatedCounts(np.array(tp), np.array(fp), np.array(area), np.array(boxacc) if boxes else None)


def freeze(
    epoch: int, fit: Fit | None, fallback: Scaling, scores: RawScores, val: ValidationSplit, rules: Rules
) -> OperatingPoint:
    """Stamp the chosen checkpoint, scaling and thresholds with the validation split they came from."""
    decision = None
    if scores.probability is not None:
        decision = best_decision_threshold(val.weak.labels, scores.probability)[0]
    scaling = fallback if fit is None else fit.scaling
    return OperatingPoint(
        epoch=epoch,
        map_scale=scaling.kind,
        map_factor=scaling.factor,
        threshold=None if fit is None else fit.threshold,
        criterion=rules.criterion if fit is not None else "none",
        value=None if fit is None else fit.value,
        decision_threshold=decision,
        fitted_on=val.stamp(),
    )
