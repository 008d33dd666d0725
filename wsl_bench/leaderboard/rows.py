"""Rows of the leaderboard and of cells.csv, as plain dictionaries in the order of their columns."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl_bench.leaderboard.boxes import box_columns
from wsl_bench.leaderboard.measure import Row
from wsl_bench.metrics import pixel
from wsl_bench.stats.bootstrap import cluster_weights, percentile_interval

METRICS = ("iop", "fpr", "fnr", "iou", "dice", "accuracy", "auc", "empty_rate", "fpr_negative", "pxap")
POOLED = ("iop", "fpr", "fnr", "iou", "dice")
RESAMPLES = 2000
RANK_SEEDS = 5

Float = npt.NDArray[np.float64]
Values = dict[str, Any]


def leaderboard_row(row: Row, expected_seeds: int, n_failed: int) -> Values:
    """One row: what was run, its status, every metric with its intervals."""
    content = row.records[0].content
    first = row.first
    thresholds = np.array(row.thresholds)
    out: Values = {
        "dataset": content["dataset"],
        "method": content["method"],
        "method_params": content["method_params"],
        "threshold_rule": row.rule,
        "threshold": float(np.median(thresholds)),
        "threshold_low": float(thresholds.min()),
        "threshold_high": float(thresholds.max()),
        "status": status(row, expected_seeds),
        "n_seeds": len(row.records),
        "n_images": len(first),
        "n_located": int(first.located.sum()),
        "n_negative": int((first.labels == 0).sum()),
        "n_val_boxes": content["n_val_boxes"],
        "rank_low": None,
        "rank_high": None,
    }
    intervals = {metric: _intervals(row, metric) for metric in METRICS}
    for metric, values in intervals.items():
        out |= {metric: values["mean"], f"{metric}_low": values["low"], f"{metric}_high": values["high"]}
    out["n_parameters"] = content["n_parameters"]
    for metric, values in intervals.items():
        out |= {f"{metric}_{name}": values[name] for name in ("fixed_low", "fixed_high", "seed_sd")}
    return out | _extras(row, n_failed) | box_columns(row)


def cell_rows(row: Row) -> list[Values]:
    """One line a training: the same metrics, the chosen epoch and threshold."""
    samples = {metric: row.sample(metric) for metric in METRICS}
    refit = row.refit_spread if row.rule == "val" else None
    lines = []
    for s, record in enumerate(row.records):
        c = record.content
        point = c["operating_point"]
        lines.append(
            {
                "dataset": c["dataset"], "method": c["method"], "method_params": c["method_params"],
                "seed": c["seed"], "threshold_rule": row.rule, "threshold": row.thresholds[s],
                "status": training_status(c), "epoch": point["epoch"], "map_scale": point["map_scale"],
                "decision_threshold": point["decision_threshold"], "criterion": point["criterion"],
                "val_value": point["value"],
                "val_auc": _get(c["val_auc"], "value"), "polarity": _get(c["polarity"], "value"),
                "polarity_low": _get(c["polarity"], "low"), "polarity_high": _get(c["polarity"], "high"),
            }
            | {metric: None if sample is None else float(sample.estimates[s]) for metric, sample in samples.items()}
            | {"iou_refit_sd": None if refit is None else float(refit[s]), "key": c["key"]}
        )  # fmt: skip
    return lines


def training_status(content: Mapping[str, Any]) -> str:
    """ok, inverted (its map means health), at_chance (its validation AUC may be 0.5), or where it comes from.

    contaminated: its weights have seen the dataset's images before.
    """
    if content["sanity"]:
        return "sanity"
    if content.get("external") is not None:
        return "external"
    if content["dataset"].partition("[")[0] in content.get("trained_on", ()):
        return "contaminated"
    auc = content["val_auc"]
    if auc is not None and auc["low"] <= 0.5 <= auc["high"]:
        return "at_chance"
    polarity = content["polarity"]
    return "inverted" if polarity is not None and polarity["high"] < 0.5 else "ok"


def status(row: Row, expected_seeds: int) -> str:
    """The row's status: incomplete if seeds are missing, else the worst of its trainings."""
    each = [training_status(record.content) for record in row.records]
    for origin in ("sanity", "external", "contaminated"):
        if origin in each:
            return origin
    if len(row.records) < expected_seeds:
        return "incomplete"
    return next((name for name in ("at_chance", "inverted") if name in each), "ok")


def _intervals(row: Row, metric: str) -> Values:
    """Mean with both intervals: *the method* (seeds random) and *these trainings* (seeds fixed)."""
    sample = row.sample(metric)
    if sample is None:
        return dict.fromkeys(("mean", "low", "high", "fixed_low", "fixed_high", "seed_sd"))
    method = sample.interval()
    fixed: tuple[float, ...] = (math.nan, math.nan)
    if sample.n_patients > 1:  # resamples of one patient are all the same
        fixed = percentile_interval(sample.resampled(_weights(tuple(sample.groups))))
    return {
        "mean": method.mean,
        "low": _inside(method.low),
        "high": _inside(method.high),
        "fixed_low": _number(fixed[0]),
        "fixed_high": _number(fixed[1]),
        "seed_sd": _number(method.seed_sd),
    }


def _extras(row: Row, n_failed: int) -> Values:
    """Columns after the fixed ones."""
    first = row.first
    iop, _ = row.located("iop")
    empty, _ = row.located("empty_rate")
    chance = float((first.truth_area[first.located] / first.n_pixels[first.located]).mean())
    tp, fp, area = row.curves
    majority = int(row.records[0].val.labels.mean() >= 0.5)  # the class most common on validation, not on test
    contents = [record.content for record in row.records]
    statuses = [training_status(c) for c in contents]
    out: Values = {f"{metric}_pooled": float(row.pooled(metric).mean()) for metric in POOLED}
    out |= {
        "iop_nonempty": float(iop[empty == 0].mean()) if (empty == 0).any() else None,
        "n_nonempty": int((empty == 0).sum()),
        "iop_chance": chance,
        "iop_times_chance": float(iop.mean()) / chance,
        "pixel_ap": float(np.mean([pixel.pixel_ap(t, f, area).mean() for t, f in zip(tp, fp, strict=True)])),
        "accuracy_at_half": None,
        "accuracy_majority": float((first.labels == majority).mean()),
        "iou_refit_sd": float(row.refit_spread.mean()) if row.rule == "val" else None,
        "map_scale": "/".join(sorted({c["operating_point"]["map_scale"] for c in contents})),
        "val_auc": _mean_of(contents, "val_auc"),
        "polarity": _mean_of(contents, "polarity"),
        "n_inverted": statuses.count("inverted"),
        "n_at_chance": statuses.count("at_chance"),
        "n_failed": n_failed,
        "n_val_located": contents[0]["n_val_located"],
        "checkpoint_rule": contents[0]["checkpoint_rule"],
    }
    if row.classifies:
        out["accuracy_at_half"] = float(row.correct([0.5] * len(row.records)).mean())
    return out


@functools.lru_cache(maxsize=32)
def _weights(groups: tuple[str, ...]) -> npt.NDArray[np.generic]:
    """The same resamples of patients for every row on the same images."""
    weights: npt.NDArray[np.generic] = cluster_weights(np.array(groups), RESAMPLES, np.random.default_rng(0))
    return weights


def _inside(value: float) -> float | None:
    """Bounds of a share lie in [0, 1]; an interval that is not defined is missing."""
    return None if value != value else min(1.0, max(0.0, float(value)))


def _number(value: float) -> float | None:
    return None if value != value else float(value)


def _get(values: Mapping[str, Any] | None, name: str) -> Any:
    return None if values is None else values[name]


def _mean_of(contents: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [c[name]["value"] for c in contents if c[name] is not None]
    return float(np.mean(values)) if values else None
