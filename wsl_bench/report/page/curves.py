"""What the charts of the page are given: densities and metrics against the threshold, from the tallies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.rows import Values
from wsl_bench.metrics.tally import Tally
from wsl_bench.report.density import density
from wsl_bench.report.threshold_curves import mean_curve

DENSITIES = ("iou", "iop", "fpr", "fnr", "dice")
AT = np.linspace(0, 1, 201)
_KS = np.arange(5, 1001, 5)
_DIGITS = 5


def densities(table: Sequence[tuple[Values, Row]]) -> dict[str, list[dict[str, Any]]]:
    """For each metric and row that is no sanity row: the density of its values, images and seeds pooled."""
    shown = [(row_name(values), row) for values, row in table if values["status"] != "sanity"]
    out: dict[str, list[dict[str, Any]]] = {}
    for metric in DENSITIES:
        out[metric] = []
        for name, row in shown:
            values = row.located(metric)[0].ravel()
            if not values.size:  # every located image is ground truth all over
                continue
            curve = np.round(density(values, AT), _DIGITS)
            out[metric].append({"row": name, "n": values.size, "mean": float(values.mean()), "density": curve.tolist()})
    return out


def against_threshold(table: Sequence[tuple[Values, Row]]) -> list[dict[str, Any]]:
    """For each row the mean IoU over located positives and seeds at thresholds 0.005 to 1, on val and test."""
    out = []
    for values, row in table:
        if values["status"] == "sanity":
            continue
        val, test = (np.mean([_mean_iou(t) for t in tallies], axis=0)
                     for tallies in ([record.val for record in row.records], row.tallies))  # fmt: skip
        out.append(
            {
                "row": row_name(values),
                "val": np.round(val, _DIGITS).tolist(),
                "test": np.round(test, _DIGITS).tolist(),
                "chosen": row.thresholds,
            }
        )
    return out


def _mean_iou(tally: Tally) -> npt.NDArray[np.float64]:
    """(200,) at the steps of the slider; NaN where nothing is located."""
    curve = mean_curve(tally, "iou")
    return np.full(len(_KS), np.nan) if curve is None else curve[_KS]
