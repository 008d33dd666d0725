"""What each column of leaderboard.csv holds, for documents that describe themselves (the JSON Schema)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from wsl_bench.leaderboard.boxes import IOBB_LEVELS, IOU_LEVELS
from wsl_bench.leaderboard.export import FIXED_COLUMNS
from wsl_bench.leaderboard.rows import METRICS, POOLED

Kind = Literal["text", "count", "share", "number"]
# In every row, of methods of which no cell has finished, too.
NAMES = ("dataset", "method", "method_params", "threshold_rule", "status", "n_seeds")


class Column(NamedTuple):
    """A column: its kind (a `share` is a number from 0 to 1, a `count` an integer from 0) and its meaning."""

    kind: Kind
    text: str


_METRICS = {
    "iop": "mean over located test positives of |P and G| / |P| (P predicted pixels, G ground truth)",
    "fpr": "mean over located test positives of |P outside G| / |outside of G|",
    "fnr": "mean over located test positives of |G outside P| / |G|",
    "iou": "mean over located test positives of |P and G| / |P or G|; rows are ordered and ranked by it",
    "dice": "mean over located test positives of 2 |P and G| / (|P| + |G|)",
    "accuracy": "test accuracy at the decision threshold frozen on validation",
    "auc": "area under the ROC curve of the class probability on test",
    "empty_rate": "share of located test positives whose thresholded map is empty",
    "fpr_negative": "mean share of the area lit on test negatives",
    "pxap": "pooled pixel average precision over all thresholds",
}

_BEFORE: dict[str, Column] = {
    "dataset": Column("text", "name of the dataset"),
    "method": Column("text", "name of the method"),
    "method_params": Column("text", "parameters that differ from the method's defaults; empty where none do"),
    "threshold_rule": Column("text", "`val` (fitted on validation) or the fixed threshold as text"),
    "threshold": Column("share", "median over seeds of the frozen threshold; a pixel is predicted at score >= it"),
    "threshold_low": Column("share", "lowest frozen threshold over seeds"),
    "threshold_high": Column("share", "highest frozen threshold over seeds"),
    "status": Column(
        "text", "ok, inverted, at_chance (ranked); incomplete, failed, contaminated, external, sanity (never ranked)"
    ),
    "n_seeds": Column("count", "trainings that the row is made of"),
    "n_images": Column("count", "test images"),
    "n_located": Column("count", "test positives with ground truth"),
    "n_negative": Column("count", "test negatives"),
    "n_val_boxes": Column("count", "validation boxes that fitting spent; 0 where nothing was fitted on them"),
    "rank_low": Column("count", "1 + the methods significantly better by iou; null where the row is not ranked"),
    "rank_high": Column("count", "ranked methods - those significantly worse by iou; null where the row is not ranked"),
}

_AFTER: dict[str, Column] = {
    "iop_nonempty": Column("share", "mean iop over maps that are not empty"),
    "n_nonempty": Column("count", "maps that are not empty, images times seeds"),
    "iop_chance": Column("share", "mean ground-truth area, the iop of a map without information"),
    "iop_times_chance": Column("number", "iop / iop_chance"),
    "pixel_ap": Column("share", "mean over located test positives of each one's pixel average precision"),
    "accuracy_at_half": Column("share", "test accuracy at a decision threshold of 0.5"),
    "accuracy_majority": Column("share", "test accuracy of always saying the class most common on validation"),
    "iou_refit_sd": Column("number", "standard deviation of the test iou over refits on resampled validation patients"),
    "map_scale": Column("text", "how raw maps became scores: none, dataset, image; several joined by a slash"),
    "val_auc": Column("share", "mean over seeds of the AUC on validation"),
    "polarity": Column("share", "validation AUC of the mean raw score; above 0.5, more map means more disease"),
    "n_inverted": Column("count", "trainings whose maps mean health"),
    "n_at_chance": Column("count", "trainings whose validation AUC cannot be told from 0.5"),
    "n_failed": Column("count", "cells that failed"),
    "n_val_located": Column("count", "validation positives with ground truth"),
    "checkpoint_rule": Column("text", "the checkpoint rule that was applied; null for maps from files"),
    "boxacc": Column("share", "mean of t_iou_30, t_iou_50 and t_iou_70"),
}

_LAST: dict[str, Column] = {
    "components_negative": Column("number", "connected components an image on test negatives"),
    "ap_10": Column("share", "average precision of detections at IoU 0.1"),
    "ap_30": Column("share", "average precision of detections at IoU 0.3"),
    "ap_50": Column("share", "average precision of detections at IoU 0.5"),
    "froc_30": Column("share", "mean sensitivity at 1/8 to 8 false positives an image, at IoU 0.3"),
    "pointing": Column("share", "share of located test positives whose highest score lies in the ground truth"),
    "relevance_mass": Column("share", "share of the map's sum that lies in the ground truth"),
    "relevance_rank": Column("share", "share of the |G| highest scores that lie in the ground truth"),
    "cnr_median": Column("number", "median contrast to noise, inside against outside; the text Infinity if infinite"),
}

_ORACLE: dict[str, Column] = {
    "oracle_iou": Column("share", "iou at the threshold that is best on test itself: an upper bound, never ranked"),
    "oracle_gap": Column("share", "oracle_iou - iou"),
    "oracle_maxboxacc": Column("share", "box accuracy of the largest component at its best threshold on test"),
    "oracle_maxboxacc_v2": Column("share", "the same of any component, mean over IoU 0.3, 0.5 and 0.7"),
}


def columns() -> dict[str, Column]:
    """Every column that a row of a leaderboard may have, in the order of leaderboard.csv; `oracle_*` last."""
    found = dict(_BEFORE)
    for metric in METRICS:
        found[metric] = Column("share", _METRICS[metric])
        for end, word in (("low", "lower"), ("high", "upper")):
            found[f"{metric}_{end}"] = Column("share", f"{word} bound of the 95 % interval of {metric} for the method")
    found["n_parameters"] = Column("count", "parameters of the network")
    for metric in METRICS:
        for end, word in (("low", "lower"), ("high", "upper")):
            found[f"{metric}_fixed_{end}"] = Column(
                "share", f"{word} bound of the 95 % interval of {metric} for these trainings, seeds held fixed"
            )
        found[f"{metric}_seed_sd"] = Column("number", f"standard deviation of {metric} between seeds")
    found |= {f"{m}_pooled": Column("share", f"{m} of pixels summed over images first") for m in POOLED}
    found |= _AFTER
    for kind, levels in (("iou", IOU_LEVELS), ("iobb", IOBB_LEVELS)):
        measure = "IoU" if kind == "iou" else "|b and g| / |b|"
        for level in levels:
            name = f"{kind}_{round(level * 100)}"
            hit = f"a component whose box has an {measure} of at least {level:g} with a ground-truth box"
            found[f"t_{name}"] = Column("share", f"share of located test positives with {hit}")
            found[f"afp_{name}"] = Column("number", f"components an image that are not {hit}, over located positives")
    return found | _LAST | _ORACLE


def required_columns() -> tuple[str, ...]:
    """Columns of every row, those of a method without a finished cell included."""
    return FIXED_COLUMNS
