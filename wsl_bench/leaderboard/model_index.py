"""A Hugging Face model card whose front matter is a `model-index` of the leaderboard.

The format has a value for a metric and no place for its interval, so the two bounds are metrics of their own; `type`
is the column of leaderboard.csv. What the format asks of the Hub (a dataset's id or revision there, a source with an
address) is not known here: the dataset's `type` is its name in the table, and the rest is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsl_bench.errors import UsageError
from wsl_bench.leaderboard.export import row_name, rule_text, status_text
from wsl_bench.leaderboard.rows import Values
from wsl_bench.leaderboard.yaml_text import to_yaml
from wsl_bench.params import did_you_mean

# The Hub's nearest task: what is judged are pixels.
TASK = {"type": "image-segmentation", "name": "Weakly supervised localization"}
_METRICS = {
    "iou": "IoU", "iop": "IoP", "fpr": "FPR", "fnr": "FNR", "dice": "Dice", "pxap": "PxAP", "auc": "AUC",
    "accuracy": "Accuracy",
}  # fmt: skip
_BOUNDS = {"": "mean", "_low": "lower bound of the 95 % interval", "_high": "upper bound of the 95 % interval"}


def model_card(
    rows: Sequence[Values], notes: Sequence[str], hashes: Mapping[str, str], methods: Sequence[str] = ()
) -> str:
    """The card: the front matter, then in words what the figures are.

    Args:
        rows, notes: of the leaderboard. Rows without a finished cell are left out, and sanity rows: they are no models.
        hashes: sha256 of each dataset's split manifest, where known.
        methods: only these, as the table names them; all if empty.

    Raises:
        UsageError: a method that the table does not have, or nothing to write.
    """
    known = {row_name(row): row for row in rows if row["n_seeds"] and row["status"] != "sanity"}
    for name in methods:
        if name not in known:
            raise UsageError(
                f"--method {name}: expected a finished row that is no sanity row, found none"
                f"{did_you_mean(name, known)} There are: {', '.join(known) or 'none'}."
            )
    if not known:
        raise UsageError("expected a finished row that is no sanity row, found none; run a method first.")
    chosen = [row for row in rows if row_name(row) in (methods or known) and row["n_seeds"]]
    chosen = [row for row in chosen if row["status"] != "sanity"]
    front = to_yaml({"model-index": model_index(chosen)})
    return f"---\n{front}---\n\n" + "\n".join(_body(chosen, notes, hashes)) + "\n"


def model_index(rows: Sequence[Values]) -> list[dict[str, Any]]:
    """One model a method with its parameters, one result for each of its datasets and threshold rules."""
    names = dict.fromkeys(row_name(row) for row in rows)
    return [{"name": name, "results": [_result(row) for row in rows if row_name(row) == name]} for name in names]


def _result(row: Values) -> dict[str, Any]:
    dataset = {"type": row["dataset"], "name": row["dataset"], "split": "test"}
    metrics = [_metric(row, metric, end) for metric in _METRICS for end in _BOUNDS if row[f"{metric}{end}"] is not None]
    return {"task": TASK, "dataset": dataset, "metrics": metrics}


def _metric(row: Values, metric: str, end: str) -> dict[str, Any]:
    trainings = f"{row['n_seeds']} trainings" if row["n_seeds"] > 1 else "one training"
    name = f"{_METRICS[metric]}, {_BOUNDS[end]}{f' over {trainings}' if not end else ''}"
    if row["status"] != "ok":  # the format has no place for it, and a figure without it would mislead
        name += f" ({status_text(row)})"
    described: dict[str, Any] = {"type": f"{metric}{end}", "value": row[f"{metric}{end}"], "name": name}
    # `args` are those of the metric's computation; ranking figures and class probabilities need no map threshold.
    threshold = {"threshold_rule": row["threshold_rule"], "threshold_median": row["threshold"]}
    return described if metric in ("auc", "accuracy", "pxap") else described | {"args": threshold}


def _body(rows: Sequence[Values], notes: Sequence[str], hashes: Mapping[str, str]) -> list[str]:
    lines = ["# Weakly supervised localization", ""]
    lines += ["Figures of the test split, measured by wsl_bench; `type` of a metric is its column there.", ""]
    for dataset, rule in dict.fromkeys((row["dataset"], row["threshold_rule"]) for row in rows):
        manifest = f", split manifest sha256 `{hashes[dataset]}`" if dataset in hashes else ""
        lines.append(f"- {dataset}: threshold {rule_text(rule)}{manifest}.")
    return [*lines, *(f"- {note}" for note in notes)]
