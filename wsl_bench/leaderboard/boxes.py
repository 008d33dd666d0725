"""Columns of a leaderboard row that speak of boxes and points; point estimates, means over the trainings.

Everything is read at the row's threshold, which was frozen before test was read. Average precision and FROC need
the detections themselves, which are kept at the fitted threshold alone: rows of other thresholds leave them empty.
"""

from __future__ import annotations

import numpy as np

from wsl_bench.leaderboard.measure import Row
from wsl_bench.metrics.box import level_index
from wsl_bench.metrics.criteria import BOXACC_LEVELS
from wsl_bench.metrics.detection import average_precision, froc, true_detections
from wsl_bench.metrics.grid import threshold_index
from wsl_bench.metrics.soft import contrast_to_noise, relevance_mass
from wsl_bench.metrics.tally import Tally

# T(IoU) of Li et al., CVPR 2018, and T(IoBB) of Wang et al., CVPR 2017 (ChestX-ray8).
IOU_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
IOBB_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
AP_LEVELS = (0.1, 0.3, 0.5)
FROC_LEVEL = 0.3


def box_columns(row: Row) -> dict[str, float | None]:
    """Box accuracy, T(IoU), T(IoBB), AP, FROC, pointing game, relevance and contrast of a row."""
    each = [_of_training(tally, t) for tally, t in zip(row.tallies, row.thresholds, strict=True)]
    return {name: _mean([values[name] for values in each]) for name in each[0]}


def _of_training(tally: Tally, threshold: float) -> dict[str, float | None]:
    k = threshold_index(threshold)
    return _accuracies(tally, k) | _precisions(tally, k) | _soft(tally)


def _accuracies(tally: Tally, k: int) -> dict[str, float | None]:
    """Share of located images that some component hits, and components that hit nothing, an image."""
    iou, iobb = tally.hits_at(k)
    components = tally.components[tally.hits_image, k].astype(np.int64)
    out: dict[str, float | None] = {
        "boxacc": float(np.mean([(iou[:, level_index(level)] > 0).mean() for level in BOXACC_LEVELS]))
    }
    for kind, hits, levels in (("iou", iou, IOU_LEVELS), ("iobb", iobb, IOBB_LEVELS)):
        for level in levels:
            own = hits[:, level_index(level)]
            out[f"t_{kind}_{_percent(level)}"] = float((own > 0).mean())
            out[f"afp_{kind}_{_percent(level)}"] = float((components - own).mean())
    negative = tally.labels == 0
    out["components_negative"] = float(tally.components[negative, k].mean()) if negative.any() else None
    return out


def _precisions(tally: Tally, k: int) -> dict[str, float | None]:
    """AP and FROC over test images, the healthy ones included, but not positives whose lesions are not marked."""
    names = [*(f"ap_{_percent(level)}" for level in AP_LEVELS), f"froc_{_percent(FROC_LEVEL)}"]
    out: dict[str, float | None] = dict.fromkeys(names)
    if (tally.detected_at != k).any():
        return out
    tally = tally.select(tally.located | (tally.labels == 0))
    found = true_detections(
        tally.detection_image, tally.detection_boxes, tally.detection_scores, tally.box_image, tally.boxes, AP_LEVELS
    )
    for level, own in zip(AP_LEVELS, found, strict=True):
        out[f"ap_{_percent(level)}"] = average_precision(tally.detection_scores, own, len(tally.boxes))
        if level == FROC_LEVEL:
            out[f"froc_{_percent(level)}"] = froc(tally.detection_scores, own, len(tally.boxes), len(tally))
    return out


def _soft(tally: Tally) -> dict[str, float | None]:
    """Threshold-free: means over located images, of the contrast the median, for it may be infinite."""
    on = tally.located
    area, outside = tally.truth_area[on].astype(np.float64), (tally.n_pixels - tally.truth_area)[on].astype(np.float64)
    contrast = contrast_to_noise(
        (tally.sum_inside[on], tally.sum_outside[on]), (tally.spread_inside[on], tally.spread_outside[on]),
        (area, outside),
    )  # fmt: skip
    defined = contrast[~np.isnan(contrast)]
    return {
        "pointing": float(tally.pointing[on].mean()),
        "relevance_mass": float(relevance_mass(tally.sum_inside[on], tally.sum_outside[on]).mean()),
        "relevance_rank": float(tally.rank_accuracy[on].mean()),
        "cnr_median": float(np.median(defined)) if defined.size else None,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _percent(level: float) -> str:
    return f"{round(level * 100)}"
