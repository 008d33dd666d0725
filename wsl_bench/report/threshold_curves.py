"""A metric against the threshold on validation and on test, with the threshold that was chosen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wsl_bench.errors import NothingToDraw
from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.measure import Row, pixel_metric
from wsl_bench.metrics.grid import THRESHOLDS, threshold_index
from wsl_bench.metrics.tally import Tally
from wsl_bench.report.panels import method_panels
from wsl_bench.report.source import Drawn, Source
from wsl_bench.report.style import GREY, HEADING, LINE, TEXT, MethodStyle, dress

METRICS = {"iou": "IoU", "iop": "IoP", "fpr": "FPR", "fnr": "FNR"}
Float = npt.NDArray[np.float64]


def draw_thresholds(metric: str, source: Source, dataset: str) -> list[Drawn]:
    """One panel a method, a curve a seed and split; the chosen threshold is marked on both.

    Raises:
        NothingToDraw: there are sanity rows only.
    """
    pairs = source.shown(dataset)
    if not pairs:
        raise NothingToDraw(f"thresholds_{metric}: {dataset} has sanity rows only.")
    figure, axes = method_panels([row_name(values) for values, _ in pairs])
    for axis, (values, row) in zip(axes, pairs, strict=True):
        _panel(axis, row, metric, source.styles[row_name(values)])
    top = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set(xlim=(0, 1), ylim=(0, min(top, 1.03)), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"))
    figure.supxlabel("threshold", fontsize=HEADING)
    figure.supylabel(f"mean {METRICS[metric]} over located positives", fontsize=HEADING)
    _legend(figure)
    n_val = sorted({int(record.val.located.sum()) for _, row in pairs for record in row.records})
    caption = (
        f"Mean {METRICS[metric]} over located positives against the threshold, one curve a seed. Full lines: test; "
        f"dashed: validation ({' or '.join(map(str, n_val))} located positives). Dots: the threshold that the rule "
        "gives, filled on test, open on validation; test was not read to choose it, so a test curve that peaks "
        f"elsewhere shows what fitting on test would have gained. {source.about(dataset, pairs)}"
    )
    return [Drawn(source.file_name(f"thresholds_{metric}", dataset), caption, figure)]


def mean_curve(tally: Tally, metric: str) -> Float | None:
    """Mean of a pixel metric over a split's located images at every threshold, (1001,); None where there are none."""
    chosen = tally.located
    if metric == "fpr":  # images that are ground truth all over have no outside
        chosen = chosen & (tally.truth_area < tally.n_pixels)
    if not chosen.any():
        return None
    area, size = tally.truth_area[chosen, None], tally.n_pixels[chosen, None]
    values = pixel_metric(metric, tally.true_positives[chosen], tally.false_positives[chosen], area, size)
    return np.asarray(values.mean(0), np.float64)


def _panel(axis: Axes, row: Row, metric: str, style: MethodStyle) -> None:
    for record, test, threshold in zip(row.records, row.tallies, row.thresholds, strict=True):
        k = threshold_index(threshold)
        seed = record.content["seed"]
        for split, tally in (("val", record.val), ("test", test)):
            curve = mean_curve(tally, metric)
            if curve is None:
                continue
            on_test = split == "test"
            # From 0.001 on: at 0 every pixel of every map is predicted, and no rule may choose it.
            axis.plot(THRESHOLDS[1:], curve[1:], color=style.colour if on_test else GREY, linewidth=0.9,
                      linestyle="-" if on_test else (0, (3, 1.5)), label=f"{split} {seed}",
                      zorder=2.1 if on_test else 2)  # fmt: skip
            axis.plot([THRESHOLDS[k]], [curve[k]], linestyle="none", marker="o", markersize=3.2, zorder=3,
                      color=LINE, markerfacecolor=style.colour if on_test else "white", markeredgewidth=0.6,
                      clip_on=False, label=f"chosen {split} {seed}")  # fmt: skip
    dress(axis)


def _legend(figure: Figure) -> None:
    """The same for all panels, whose colours differ."""
    handles = [
        Line2D([], [], color=LINE, linewidth=0.9, marker="o", markersize=3.2, label="test (colour), chosen"),
        Line2D([], [], color=GREY, linewidth=0.9, linestyle=(0, (3, 1.5)), marker="o", markersize=3.2,
               markerfacecolor="white", markeredgecolor=LINE, label="validation, chosen"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=TEXT, frameon=False)
