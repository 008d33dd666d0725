"""What a threshold may be fitted to: for each criterion, its value at every threshold of the grid.

The criteria look at located positive images alone. They are functions of one split's counts; which split that is
(validation, always) is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wsl_bench.metrics import pixel

Float = NDArray[np.float64]

CriterionName = Literal["iou", "dice", "iop_at_fnr", "boxacc"]
CRITERIA: tuple[str, ...] = get_args(CriterionName)
# MaxBoxAccV2's levels (Choe et al., TPAMI 2022).
BOXACC_LEVELS = (0.3, 0.5, 0.7)
# Means of equal counts may differ in their last bits, by the processor's way of summing; they are equal here.
_SLACK = 1e-12


@dataclass(frozen=True)
class LocatedCounts:
    """The counts of n located positives at the thresholds of the grid.

    Attributes:
        tp, fp: (n, 1001) pixels predicted inside and outside the ground truth.
        area: (n,) pixels of the ground truth.
        boxacc: (n, 1001) `box_accuracy` of each image; None where no criterion asks for boxes.
    """

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    area: NDArray[np.int64]
    boxacc: Float | None = None


def box_accuracy(hits: Sequence[NDArray[Any]]) -> Float:
    """The share of the IoU levels .3, .5, .7 (`BOXACC_LEVELS`) that some component's box reaches.

    Args:
        hits: for each level, the number of components with at least that IoU; any shape.

    Returns:
        float64 of that shape.
    """
    return np.asarray(np.mean([own > 0 for own in hits], axis=0), dtype=np.float64)


def objective(name: CriterionName, counts: LocatedCounts, max_fnr: float, weights: Float | None = None) -> Float:
    """The value of a criterion at every threshold, higher is better.

    `iou`, `dice`: means over images. `boxacc`: mean `box_accuracy`. `iop_at_fnr`: the mean IoP where the mean
    FNR is at most `max_fnr`; elsewhere minus the mean FNR, so that the threshold nearest to the bound wins
    where none meets it, with a value below 0.

    Args:
        max_fnr: of `iop_at_fnr`.
        weights: (R, n) of the images, for R resamples; every row has a positive sum. None: all alike.

    Returns:
        float64 (1001,), or (R, 1001) with weights.
    """
    tp, fp, area = counts.tp, counts.fp, counts.area[:, None]
    if name == "boxacc":
        assert counts.boxacc is not None
        return _mean(counts.boxacc, weights)
    if name == "iop_at_fnr":
        missed = _mean(pixel.fnr(tp, area), weights)
        return np.where(missed <= max_fnr + _SLACK, _mean(pixel.iop(tp, fp), weights), -missed)
    return _mean(pixel.iou(tp, fp, area) if name == "iou" else pixel.dice(tp, fp, area), weights)


def best_threshold(curve: Float) -> NDArray[np.int64]:
    """The k of the best threshold k / 1000, from 1 to 1000; the lowest among ties. (..., 1001) -> (...)."""
    used = curve[..., 1:]
    tied = used >= used.max(axis=-1, keepdims=True) - _SLACK
    return np.asarray(tied.argmax(axis=-1) + 1, dtype=np.int64)


def _mean(values: Float, weights: Float | None) -> Float:
    if weights is None:
        return np.asarray(values.mean(axis=0), dtype=np.float64)
    return np.asarray(weights @ values / weights.sum(axis=1, keepdims=True), dtype=np.float64)
