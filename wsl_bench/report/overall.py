"""Figures over several datasets: critical differences of average ranks, performance profiles."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsl_bench.leaderboard.overall import PROFILE_AT, Overall
from wsl_bench.report.style import COLOURS, LINE, method_styles, plain
from wsl_bench.store.atomic import atomic_write


def write_overall(result: Overall, folder: Path, end: str = "") -> list[str]:
    """Write profiles.png and, of two methods or more, critical_difference.png; `end` stands before the suffix.

    Returns:
        The names of the files.
    """
    figures = {f"profiles{end}.png": _profiles(result)}
    if len(result.methods) > 1:
        figures[f"critical_difference{end}.png"] = _critical_difference(result)
    for name, figure in figures.items():
        buffer = io.BytesIO()
        # "tight": names stand outside the axis, and the picture grows with the longest of them.
        figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None}, bbox_inches="tight")
        atomic_write(folder / name, buffer.getvalue())
    return list(figures)


def _critical_difference(result: Overall) -> Figure:
    """Demsar 2006, figure 1: methods at their average ranks; bars join what is not told apart."""
    k = len(result.methods)
    half = (k + 1) // 2
    bars = len(result.groups)
    # No layout engine: names beside the axis would take its room; the picture grows with them instead.
    figure = Figure(figsize=(5.2, 1.0 + 0.26 * half + 0.14 * bars))
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    margin = 0.55 * max(1, k - 1)
    axis.set(xlim=(1 - margin, k + margin), ylim=(-0.6 - 0.3 * bars - 0.55 * half, 1.5))
    axis.axis("off")
    axis.plot([1, k], [0, 0], color=LINE, linewidth=1)
    for rank in range(1, k + 1):
        axis.plot([rank, rank], [0, 0.12], color=LINE, linewidth=0.8)
        axis.text(rank, 0.2, str(rank), ha="center", va="bottom", fontsize=8)
    low = _bars(axis, result)
    for i, (name, rank) in enumerate(zip(result.methods, result.ranks.ranks, strict=True)):
        left = i < half
        y = low - 0.55 * ((i if left else k - 1 - i) + 1)
        end = 1 - 0.06 * margin if left else k + 0.06 * margin
        axis.plot([rank, rank, end], [0, y, y], color=LINE, linewidth=0.7)
        label = f"{plain(name)} ({rank:.2f})"
        axis.text(end, y, f"{label} " if left else f" {label}", fontsize=8,
                  ha="right" if left else "left", va="center")  # fmt: skip
    width = min(result.ranks.critical_difference, k - 1)
    axis.plot([1, 1 + width], [1.0, 1.0], color=LINE, linewidth=1.2, marker="|", markersize=5)
    more = "" if width == result.ranks.critical_difference else ", more than the axis holds"
    over = textwrap.fill(f"average ranks by IoU over {', '.join(result.datasets)}", 80)
    axis.text(1, 1.12, f"critical difference {result.ranks.critical_difference:.2f}{more}\n{over}".replace("$", r"\$"),
              fontsize=7, va="bottom")  # fmt: skip
    return figure


def _bars(axis: Axes, result: Overall) -> float:
    """Draw what is not told apart; returns how low it went."""
    place = dict(zip(result.methods, result.ranks.ranks, strict=True))
    y = -0.12
    for group in result.groups:
        y -= 0.3
        axis.plot([place[group[0]] - 0.04, place[group[-1]] + 0.04], [y, y], color=COLOURS[1], linewidth=3.5,
                  solid_capstyle="butt")  # fmt: skip
    return y


def _profiles(result: Overall) -> Figure:
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axis = figure.subplots()
    styles = method_styles(result.methods)
    for name in result.methods:
        estimates = result.profile(name)
        bounds = np.clip([e.interval() for e in estimates], 0, 1)
        colour, style = styles[name].colour, styles[name].line
        axis.plot(
            PROFILE_AT, [e.mean for e in estimates], color=colour, linestyle=style, linewidth=1.6, label=plain(name)
        )
        axis.fill_between(PROFILE_AT, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.12, linewidth=0)
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.set_xlabel("x", fontsize=9)
    axis.set_ylabel("share of images with IoU > x", fontsize=9)
    axis.set_title(f"{plain(', '.join(result.datasets))}; bands: 95 % at each x", fontsize=9, loc="left")
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, framealpha=0.85, edgecolor="none")
    return figure
