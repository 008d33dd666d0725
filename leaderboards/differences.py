"""One method against each other one, metric by metric: what sentences like "X outperforms Y" need.

Patients are paired, seeds are not (`wsl_bench.stats.ranking`); p is Holm's over the other methods of one
metric. Made from a run's records at the frozen thresholds; nothing is fitted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl_bench.leaderboard.build import RANKED, Leaderboard
from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.rows import RANK_SEEDS
from wsl_bench.stats.ranking import holm, paired_difference

Float = npt.NDArray[np.float64]

REFERENCE = "infomask"
OF_LOCATED = ("iou", "dice", "iop", "fpr", "fnr")
# Shares of located images beyond a bound: what a density curve shows at its ends.
SHARES: dict[str, tuple[str, Callable[[Float], npt.NDArray[np.bool_]]]] = {
    "share_iop_from_0.5": ("iop", lambda v: v >= 0.5),
    "share_fpr_to_0.1": ("fpr", lambda v: v <= 0.1),
}
COMPONENTS = "components"
METRICS = (*OF_LOCATED, *SHARES, COMPONENTS, "accuracy")

Pair = tuple[Float, Float, npt.NDArray[np.str_]]


def difference_rows(board: Leaderboard) -> list[dict[str, Any]]:
    """One line a metric and other ranked method: the reference minus the other, 95 % interval, Holm's p.

    Empty where the reference is not ranked, as in a run that is not complete; p is empty below the number of
    seeds that ranks need.
    """
    lines = []
    for dataset in dict.fromkeys(values["dataset"] for values, _ in board.measured):
        table = {
            row_name(values): (values["status"], row)
            for values, row in board.measured
            if values["dataset"] == dataset and values["threshold_rule"] == "val" and values["status"] in RANKED
        }
        if REFERENCE in table:
            reference = table.pop(REFERENCE)[1]
            for metric in METRICS:
                lines += _lines(dataset, metric, reference, table)
    return lines


def _lines(dataset: str, metric: str, reference: Row, others: dict[str, tuple[str, Row]]) -> list[dict[str, Any]]:
    pairs = {name: _pair(metric, reference, row) for name, (_, row) in others.items() if _defined(metric, row)}
    pairs = {name: pair for name, pair in pairs.items() if pair[0].shape[1]}
    results = {name: paired_difference(*pair) for name, pair in pairs.items()}
    adjusted = holm([result.p for result in results.values()])
    lines = []
    for (name, result), p in zip(results.items(), adjusted, strict=True):
        own, other, _ = pairs[name]
        n_seeds = min(len(own), len(other))
        lines.append(
            {"dataset": dataset, "metric": metric, "method": REFERENCE, "other": name,
             "other_status": others[name][0], "mean": float(own.mean()), "other_mean": float(other.mean()),
             "difference": result.difference, "low": result.low, "high": result.high,
             "p_holm": float(p) if n_seeds >= RANK_SEEDS else None, "n_images": own.shape[1], "n_seeds": n_seeds}
        )  # fmt: skip
    return lines


def _defined(metric: str, row: Row) -> bool:
    return metric != "accuracy" or row.classifies


def _pair(metric: str, a: Row, b: Row) -> Pair:
    """(S, n) values of both on the same images, and the images' groups."""
    assert np.array_equal(a.first.image_ids, b.first.image_ids)  # one dataset of one run
    if metric == "accuracy":
        return a.correct(), b.correct(), a.first.groups
    if metric == COMPONENTS:
        left, right = a.components, b.components
        # A blank mask has no shape: only images on which every training of both lit something.
        chosen = a.first.located & (left > 0).all(0) & (right > 0).all(0)
        return left[:, chosen].astype(np.float64), right[:, chosen].astype(np.float64), a.first.groups[chosen]
    if metric in SHARES:
        name, beyond = SHARES[metric]
        own, other, groups = _pair(name, a, b)
        return beyond(own).astype(np.float64), beyond(other).astype(np.float64), groups
    own, groups = a.located(metric)
    return own, b.located(metric)[0], groups
