"""Density curves of one metric, one curve a method; blank maps beside it (InfoMask paper, Figure 2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsl_bench.errors import NothingToDraw
from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.measure import Row
from wsl_bench.report.density import axis_top, density
from wsl_bench.report.source import Drawn, Source
from wsl_bench.report.style import COLUMN, HEADING, TEXT, MethodStyle, dress, legend_columns, short

METRICS = {
    "iop": "IoP: part of the prediction that is right",
    "fpr": "FPR: part of the outside predicted",
    "fnr": "FNR: part of the ground truth missed",
    "iou": "IoU of prediction and ground truth",
    "dice": "Dice of prediction and ground truth",
}
AT = np.linspace(0, 1, 501)
Float = npt.NDArray[np.float64]


def draw_density(metric: str, source: Source, dataset: str) -> list[Drawn]:
    """One of METRICS over located positives: a value an image and seed, all of a method pooled.

    The area under a curve is the share of maps that are not blank; the bar beside it is the rest.

    Raises:
        NothingToDraw: there are sanity rows only, or no image has the metric.
    """
    pairs = source.shown(dataset)
    pooled = {row_name(values): pooled_values(row, metric) for values, row in pairs}
    if not any(len(values) for values, _ in pooled.values()):
        raise NothingToDraw(f"density_{metric}: no method of {dataset} has a value of {metric} on any image.")
    figure = Figure(layout="constrained")
    blank_axis, axis = figure.subplots(1, 2, width_ratios=(1, 5))
    _bars(blank_axis, pooled, source.styles, 1 if metric == "fnr" else 0)
    cut = _curves(axis, pooled, source.styles)
    axis.set_xlabel(METRICS[metric], fontsize=HEADING)
    handles, labels = axis.get_legend_handles_labels()
    columns = legend_columns(labels)
    figure.set_size_inches(COLUMN, 1.85 + 0.15 * -(-len(labels) // columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=TEXT, frameon=False,
                  handlelength=2.2, columnspacing=1.0, title="method (mean)", title_fontsize=TEXT)  # fmt: skip
    counts = "; ".join(
        f"{name} {len(values)} values, {int(blank.sum())} blank" for name, (values, blank) in pooled.items()
    )
    caption = (
        f"Density of {METRICS[metric]}, over located positives; one value an image and seed, pooled. Gaussian kernel "
        "reflected at 0 and 1, Silverman's bandwidth, at least 0.02. A curve's area is the share of maps that are not "
        "blank at their threshold; blank maps are the bars (in the order of the legend), and count as "
        f"{'1' if metric == 'fnr' else '0'} in the mean. n: {counts}. {cut}{source.about(dataset, pairs)}"
    )
    return [Drawn(source.file_name(f"density_{metric}", dataset), caption, figure)]


def pooled_values(row: Row, metric: str) -> tuple[Float, npt.NDArray[np.bool_]]:
    """Every seed's value on every image that has one, (S * n,) in [0, 1], and which of the maps were blank."""
    values, _ = row.located(metric)
    blank = row.located("empty_rate")[0] == 1
    if metric == "fpr":  # images that are ground truth all over have no outside
        located = row.first.located
        blank = blank[:, (row.first.truth_area < row.first.n_pixels)[located]]
    return values.ravel(), blank.ravel()


def _bars(
    axis: Axes,
    pooled: dict[str, tuple[Float, npt.NDArray[np.bool_]]],
    styles: dict[str, MethodStyle],
    counts_as: int,
) -> None:
    shares = {name: float(blank.mean()) if len(blank) else 0.0 for name, (_, blank) in pooled.items()}
    axis.bar(range(len(shares)), list(shares.values()), width=0.8, color=[styles[name].colour for name in shares])
    axis.set_ylim(0, max(0.1, 1.1 * max(shares.values())))
    axis.set_xlim(-0.7, max(2, len(shares)) - 0.3)
    axis.set_ylabel("share of maps", fontsize=TEXT)
    dress(axis)
    axis.set_xticks([(len(shares) - 1) / 2], [f"blank\n(= {counts_as})"])
    axis.tick_params(axis="x", length=0)


def _curves(axis: Axes, pooled: dict[str, tuple[Float, npt.NDArray[np.bool_]]], styles: dict[str, MethodStyle]) -> str:
    """Draw them; returns a sentence on those that are cut, or nothing."""
    curves = {
        name: density(values[~blank], AT) * (~blank).mean()
        for name, (values, blank) in pooled.items() if not blank.all()
    }  # fmt: skip
    top, cut = axis_top({name: float(curve.max()) for name, curve in curves.items()}, 0.25) if curves else (1.0, {})
    for name, (values, _) in pooled.items():
        curve = curves.get(name, np.zeros(len(AT)))
        mean = f"{values.mean():.2f}" if len(values) else "-"
        axis.plot(AT, curve, color=styles[name].colour, linestyle=styles[name].line, linewidth=1.3,
                  label=f"{short(name, 36)} ({mean}{', cut' if name in cut else ''})")  # fmt: skip
    axis.set(xlim=(0, 1), ylim=(0, top))
    n = {len(values) for values, _ in pooled.values()}
    axis.set_ylabel(f"density (n = {n.pop()} each)" if len(n) == 1 else "density", fontsize=TEXT)
    dress(axis)
    if not cut:
        return ""
    peaks = ", ".join(f"{name} {peak:.0f}" for name, peak in cut.items())
    return f"Cut at the top of the axis, with their peaks (each over 3 times the lower quartile of peaks): {peaks}. "
