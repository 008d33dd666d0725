"""Differences of two methods, image by image: what hides behind a difference of means."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from wsl_bench.leaderboard.compare import LOWER_IS_BETTER, Comparison
from wsl_bench.report.style import COLOURS, LINE, plain
from wsl_bench.store.atomic import atomic_write

_HIGHER, _LOWER = COLOURS[1], COLOURS[0]


def write_paired(comparison: Comparison, path: Path) -> None:
    """Write the figure: every image's (or patient's) part, sorted, and the difference with the method's interval."""
    buffer = io.BytesIO()
    paired_figure(comparison).savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    atomic_write(path, buffer.getvalue())


def paired_figure(c: Comparison) -> Figure:
    """Every image's (or patient's) part, sorted, and the difference with the interval of the method."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axis = figure.subplots()
    ordered = np.sort(c.parts)[::-1]
    unit = "images" if c.by_image else "patients"
    place = np.arange(1, len(ordered) + 1)
    for chosen, colour, who in ((ordered > 0, _HIGHER, plain(c.a)), (ordered < 0, _LOWER, plain(c.b))):
        if not chosen.any():
            continue
        label = f"{who} is higher: {int(chosen.sum())} {unit}"
        axis.bar(place[chosen], ordered[chosen], width=1.0, color=colour, label=label, zorder=2)
    axis.axhline(0, color=LINE, linewidth=0.6)
    axis.axhline(c.method.difference, color=LINE, linewidth=1.2, linestyle="--", zorder=3,
                 label=f"difference {c.method.difference:+.3f}")  # fmt: skip
    if not np.isnan(c.method.low):
        axis.axhspan(c.method.low, c.method.high, color=LINE, alpha=0.12, linewidth=0, zorder=1,
                     label=f"95 % interval {c.method.low:+.3f} to {c.method.high:+.3f}")  # fmt: skip
    axis.set_title(f"{plain(c.dataset)}: {plain(c.a)} minus {plain(c.b)}", fontsize=9, loc="left")
    axis.set_xlabel(f"{len(ordered)} test {unit}, sorted", fontsize=9)
    of = c.metric if c.by_image else f"{c.metric} pseudo-values"
    better = "lower" if c.metric in LOWER_IS_BETTER else "higher"
    axis.set_ylabel(f"difference of {of} ({better} is better)", fontsize=9)
    axis.set_xlim(0.5, len(ordered) + 0.5)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, framealpha=0.85, edgecolor="none")
    return figure
