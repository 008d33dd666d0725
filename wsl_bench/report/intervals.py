"""The ranking with its uncertainty: IoU with intervals, and the ranges of ranks."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsl_bench.leaderboard.export import rank_text, row_name
from wsl_bench.leaderboard.rows import RANK_SEEDS, Values
from wsl_bench.report.source import Drawn, Source
from wsl_bench.report.style import COLUMN, GREY, HEADING, TEXT, dress, short


def draw_intervals(source: Source, dataset: str) -> list[Drawn]:
    """One line a row, in the order of the leaderboard; sanity rows grey."""
    pairs = source.rows(dataset)
    figure = Figure(figsize=(COLUMN, 0.62 + 0.19 * len(pairs)), layout="constrained")
    axis = figure.subplots()
    for y, (values, _) in enumerate(pairs):
        sanity = values["status"] == "sanity"
        colour = GREY if sanity else source.styles[row_name(values)].colour
        marker = "o" if sanity else source.styles[row_name(values)].marker
        _line(axis, y, values, colour, marker)
    highest = max(_bound(values, "high") for values, _ in pairs)
    axis.set(xlim=(0, min(1.0, 1.05 * highest)), ylim=(len(pairs) - 0.5, -0.5))
    axis.set_yticks(range(len(pairs)), [short(row_name(values), 26) for values, _ in pairs])
    dress(axis)
    for label, (values, _) in zip(axis.get_yticklabels(), pairs, strict=True):
        label.set_color(GREY if values["status"] == "sanity" else "black")
    _ranks(axis, [values for values, _ in pairs])
    axis.set_xlabel("mean IoU over located positives", fontsize=HEADING)
    ranks = (
        f"Rank ranges (right): 1 + the methods significantly better, K - those significantly worse, Holm over all "
        f"pairs at 5 %; complete rows of {RANK_SEEDS} seeds or more, others have none (-)."
    )
    caption = (
        "Mean IoU at the frozen thresholds. Lines: 95 % intervals for the method (seeds random, crossed with "
        "patients); of one seed there is none. Light bars: 95 % intervals for these trainings alone (seeds fixed, "
        f"patients resampled). Grey: sanity rows, never ranked. {ranks} {source.about(dataset, pairs)}"
    )
    return [Drawn(source.file_name("intervals", dataset), caption, figure)]


def _line(axis: Axes, y: int, values: Values, colour: str, marker: str) -> None:
    name = row_name(values)
    low, high = values["iou_fixed_low"], values["iou_fixed_high"]
    if low is not None and high is not None:
        axis.barh(y, high - low, left=low, height=0.55, color=colour, alpha=0.25, linewidth=0, label=f"{name} fixed")
    low, high = values["iou_low"], values["iou_high"]
    if low is not None and high is not None:
        axis.plot([low, high], [y, y], color=colour, linewidth=1.4, solid_capstyle="butt", label=f"{name} interval")
    axis.plot([values["iou"]], [y], linestyle="none", marker=marker, markersize=4, color=colour, label=f"{name} mean")


def _ranks(axis: Axes, rows: list[Values]) -> None:
    """Ranges of ranks at the right edge, on an axis of their own so that the layout leaves room for them."""
    right = axis.twinx()
    right.set_ylim(axis.get_ylim())
    texts = ["" if values["status"] == "sanity" else rank_text(values) or "-" for values in rows]
    right.set_yticks(range(len(rows)), texts)
    right.tick_params(labelsize=TEXT, length=0, pad=2)
    right.spines[["top", "right"]].set_visible(False)
    right.set_title("rank", fontsize=TEXT, loc="right", pad=2)


def _bound(values: Values, end: str) -> Any:
    known = [values[f"iou{part}_{end}"] for part in ("", "_fixed")]
    return max([values["iou"], *(bound for bound in known if bound is not None)])
