"""Density curves of a metric over test images, one a method (InfoMask paper, Figure 2)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsl_bench.leaderboard.export import row_name
from wsl_bench.leaderboard.measure import Row
from wsl_bench.leaderboard.rows import Values
from wsl_bench.report.style import MethodStyle, method_styles, plain
from wsl_bench.store.atomic import atomic_write

FIGURES = {
    "iop": "IoP: share of the predicted area inside the ground truth",
    "fpr": "FPR: share of the outside that is predicted",
    "fnr": "FNR: share of the ground truth that is missed",
}
# Narrower than this, a kernel shows single images, not a distribution.
MIN_BANDWIDTH = 0.02


def write_densities(measured: Sequence[tuple[Values, Row]], folder: Path) -> None:
    """Write density_{iop,fpr,fnr}.png: one panel a dataset and threshold rule; sanity rows left out."""
    shown = [(values, row) for values, row in measured if values["status"] != "sanity"]
    if not shown:
        return
    for metric, title in FIGURES.items():
        buffer = io.BytesIO()
        # No date and no version in the file: the same records give the same bytes.
        _figure(shown, metric, title).savefig(buffer, format="png", dpi=200, metadata={"Software": None})
        atomic_write(folder / f"density_{metric}.png", buffer.getvalue())


def density(values: npt.NDArray[np.float64], at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Gaussian kernel density of values in [0, 1], reflected at both ends so that no mass lies outside.

    Args:
        values: (n,). at: (m,) where to evaluate, in [0, 1].

    Returns:
        (m,) density; its integral over [0, 1] is 1. Bandwidth: Silverman's rule, at least 0.02.
    """
    spread = min(values.std(), float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.349 or np.inf)
    width = max(MIN_BANDWIDTH, 0.9 * spread * len(values) ** -0.2)
    # Values are rounded to a fine grid first, so the cost does not grow with the number of images.
    cells = np.bincount(np.rint(values * 2000).astype(np.int64), minlength=2001)
    used = np.flatnonzero(cells)
    centres = used / 2000
    kernel = sum(np.exp(-0.5 * ((at[:, None] - mirror) / width) ** 2) for mirror in (centres, -centres, 2 - centres))
    scale = len(values) * width * np.sqrt(2 * np.pi)
    return np.asarray(kernel @ cells[used] / scale, np.float64)


def _figure(shown: Sequence[tuple[Values, Row]], metric: str, title: str) -> Figure:
    panels = list(dict.fromkeys((values["dataset"], values["threshold_rule"]) for values, _ in shown))
    figure = Figure(figsize=(5.2, 4.2 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    styles = method_styles(row_name(values) for values, _ in shown)
    for axis, (dataset, rule) in zip(axes, panels, strict=True):
        members = [pair for pair in shown if (pair[0]["dataset"], pair[0]["threshold_rule"]) == (dataset, rule)]
        _panel(axis, members, metric, styles)
        rule_text = "fitted on validation" if rule == "val" else f"fixed at {rule}"
        axis.set_title(f"{plain(dataset)}, threshold {rule_text}", fontsize=9, loc="left")
        axis.set_xlabel(title, fontsize=9)
    return figure


def _panel(axis: Axes, members: Sequence[tuple[Values, Row]], metric: str, styles: dict[str, MethodStyle]) -> None:
    at = np.linspace(0, 1, 501)
    curves = {row_name(values): density(row.located(metric)[0].ravel(), at) for values, row in members}
    means = {row_name(values): values[metric] for values, _ in members}
    top, cut = axis_top({name: float(curve.max()) for name, curve in curves.items()})
    for name, curve in curves.items():
        beyond = f"; cut, peak {cut[name]:.0f}" if name in cut else ""
        axis.plot(at, curve, color=styles[name].colour, linestyle=styles[name].line, linewidth=1.6,
                  label=f"{plain(name)} ({means[name]:.2f}{beyond})")  # fmt: skip
    axis.set(xlim=(0, 1), ylim=(0, top))
    n_images, n_seeds = members[0][0]["n_located"], members[0][0]["n_seeds"]
    axis.set_ylabel(f"density, {n_images} images x {n_seeds} seeds", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    # Below the axes: with curves at both ends no corner is free.
    axis.legend(fontsize=7, frameon=False, title="method (mean)", title_fontsize=7, ncols=2, loc="upper center",
                bbox_to_anchor=(0.5, -0.16))  # fmt: skip


def axis_top(peaks: dict[str, float], share: float = 0.5) -> tuple[float, dict[str, float]]:
    """Where the axis ends, and the curves that go beyond it.

    Spikes (all maps blank, or nothing but a sliver inside the ground truth) must not flatten the rest: curves
    three times as high as the median one (or another, at this share of them from the lowest) are cut at the top and
    named.
    """
    ordered = sorted(peaks.values())
    limit = 3 * ordered[int((len(ordered) - 1) * share)]
    cut = {name: peak for name, peak in peaks.items() if peak > limit}
    return 1.1 * max(peak for peak in ordered if peak <= limit), cut
