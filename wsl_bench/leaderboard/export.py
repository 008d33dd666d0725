"""Tables as CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from wsl_bench.leaderboard.oracle import COLUMNS as ORACLE_COLUMNS
from wsl_bench.leaderboard.rows import METRICS, Values
from wsl_bench.leaderboard.strata import METRICS as STRATUM_METRICS

_BEFORE = (
    "dataset", "method", "method_params", "threshold_rule", "threshold", "threshold_low", "threshold_high",
    "status", "n_seeds", "n_images", "n_located", "n_negative", "n_val_boxes", "rank_low", "rank_high",
)  # fmt: skip
FIXED_COLUMNS = (
    *_BEFORE,
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")),
    "n_parameters",
)


def to_csv(rows: Sequence[Values], columns_if_empty: Sequence[str]) -> str:
    """CSV with a header; floats with 9 or more significant digits; missing is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = list(rows[0]) if rows else list(columns_if_empty)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_field(row[column]) for column in columns])
    return out.getvalue()


def to_markdown(rows: Sequence[Values], notes: Sequence[str]) -> str:
    """One table a dataset and threshold rule, metrics with their intervals, then the notes."""
    parts = ["# Leaderboard", ""]
    for dataset, rule in dict.fromkeys((row["dataset"], row["threshold_rule"]) for row in rows):
        table = [row for row in rows if (row["dataset"], row["threshold_rule"]) == (dataset, rule)]
        parts += [f"## {dataset}, threshold {rule_text(rule)}", "", _sizes(table), ""]
        oracle = [column for column in ORACLE_COLUMNS if column in table[0]]
        header = [*_HEADER, *oracle]
        parts += [_line(header), _line(["---"] * len(header))]
        parts += [_line([*_cells(row), *(_number(row[column]) for column in oracle)]) for row in table] + [""]
    parts += [f"- {note}" for note in notes]
    return "\n".join(parts) + "\n"


def strata_markdown(rows: Sequence[Values]) -> str:
    """One table a dataset and threshold rule: a line a method and stratum."""
    header = ["method", "status", rows[0]["by"], "images", "patients", *STRATUM_METRICS, "chance iop"]
    parts = [f"# By {rows[0]['by']}", ""]
    for dataset, rule in dict.fromkeys((row["dataset"], row["threshold_rule"]) for row in rows):
        parts += [f"## {dataset}, threshold {rule_text(rule)}", "", _line(header), _line(["---"] * len(header))]
        for row in rows:
            if (row["dataset"], row["threshold_rule"]) == (dataset, rule):
                counts = [str(row["n_images"]), str(row["n_groups"])]
                figures = [interval_text(row, metric) for metric in STRATUM_METRICS]
                parts.append(
                    _line([row_name(row), row["status"], row["stratum"], *counts, *figures, _number(row["iop_chance"])])
                )
        parts.append("")
    return "\n".join(parts)


_OVERLAP = ("iou", "iop")
_OTHERS = ("fpr", "fnr", "dice", "pxap", "auc")
_BLANK = ("empty_rate", "fpr_negative")
_HEADER = [
    "method", "status", "rank", *_OVERLAP, "iop / chance", *_OTHERS, "accuracy", "at 0.5", "majority", *_BLANK,
    "threshold", "scale", "seeds", "parameters",
]  # fmt: skip


def _cells(row: Values) -> list[str]:
    times = row.get("iop_times_chance")
    # A sanity row without a classifier has no accuracy that the majority's could stand beside.
    classifies = row["accuracy"] is not None
    return [
        row_name(row), status_text(row), rank_text(row), *(interval_text(row, m) for m in _OVERLAP),
        "" if times is None else f"{times:.1f}x", *(interval_text(row, m) for m in (*_OTHERS, "accuracy")),
        *(_number(row[column] if classifies else None) for column in ("accuracy_at_half", "accuracy_majority")),
        *(interval_text(row, m) for m in _BLANK), _number(row["threshold"]), row.get("map_scale") or "",
        str(row["n_seeds"]), "" if row["n_parameters"] is None else f"{row['n_parameters']:,}",
    ]  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def row_name(row: Values) -> str:
    """The method with those of its parameters that are not the defaults."""
    return str(row["method"]) + (f"[{row['method_params']}]" if row["method_params"] else "")


def interval_text(row: Values, metric: str) -> str:
    """0.51 [0.47, 0.55]; without brackets where no interval is defined; empty where missing."""
    mean, low, high = row[metric], row[f"{metric}_low"], row[f"{metric}_high"]
    if mean is None:
        return ""
    return f"{mean:.3f}" if low is None or high is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def rank_text(row: Values) -> str:
    """2 or 1-3; empty where not ranked."""
    low, high = row["rank_low"], row["rank_high"]
    if low is None:
        return ""
    return str(low) if low == high else f"{low}-{high}"


def status_text(row: Values) -> str:
    """The status, with how many trainings it concerns."""
    counts = {"inverted": row.get("n_inverted"), "at_chance": row.get("n_at_chance")}
    count = counts.get(row["status"])
    return f"{row['status']} ({count}/{row['n_seeds']})" if count else str(row["status"])


def rule_text(rule: str) -> str:
    """The threshold rule in words."""
    return "fitted on validation" if rule == "val" else f"fixed at {rule}"


def _sizes(table: Sequence[Values]) -> str:
    row = next((r for r in table if r["n_images"] is not None), None)
    if row is None:
        return "No cell finished."
    return (
        f"{row['n_images']} test images: {row['n_located']} located positives, {row['n_negative']} negatives; "
        f"{max(r['n_val_boxes'] or 0 for r in table)} validation boxes spent on fitting. "
        f"Chance IoP (mean ground-truth area): {row['iop_chance']:.3f}. "
        f"Majority-class accuracy: {row['accuracy_majority']:.3f}."
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _field(value: Any) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)
