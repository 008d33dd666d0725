"""How each training went: loss and validation accuracy by epoch, with the epoch whose checkpoint was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wsl_bench.errors import NothingToDraw
from wsl_bench.leaderboard.export import row_name
from wsl_bench.report.source import Drawn, Pair, Source
from wsl_bench.report.style import COLUMN, HEADING, LINE, TEXT, MethodStyle, dress, short

CURVES = {"loss": "training loss", "accuracy": "val. accuracy"}


def draw_training(source: Source, dataset: str) -> list[Drawn]:
    """One line of panels a trained method, one curve a seed.

    Raises:
        NothingToDraw: no training of the dataset kept its history, because nothing was trained.
    """
    pairs = [(v, row) for v, row in source.shown(dataset) if any(r.content["history"] for r in row.records)]
    if not pairs:
        raise NothingToDraw(f"training: no method of {dataset} was trained in this run.")
    figure = Figure(figsize=(COLUMN, 0.45 + 0.85 * len(pairs)), layout="constrained")
    grid = figure.subplots(len(pairs), len(CURVES), squeeze=False, sharex=True)
    for line, (values, row) in zip(grid, pairs, strict=True):
        style = source.styles[row_name(values)]
        for axis, (field, title) in zip(line, CURVES.items(), strict=True):
            axis.set_ylabel(title, fontsize=TEXT, labelpad=2)
            for record in row.records:
                _curve(axis, record.content, field, style)
            dress(axis)
        line[0].set_title(short(row_name(values), 22), fontsize=TEXT, loc="left", pad=2)
        line[1].set_ylim(*_range(line[1].get_lines()))
    for axis in grid[-1]:
        axis.set_xlabel("epoch", fontsize=HEADING)
    figure.align_ylabels()
    return [Drawn(source.file_name("training", dataset), _caption(source, dataset, pairs), figure)]


def _caption(source: Source, dataset: str, pairs: list[Pair]) -> str:
    rules = sorted({str(record.content["checkpoint_rule"]) for _, row in pairs for record in row.records})
    epochs = "; ".join(
        f"{row_name(values)} " + ", ".join(str(r.content["operating_point"]["epoch"]) for r in row.records)
        for values, row in pairs
    )
    return (
        "Training loss and validation accuracy (at the decision threshold that is best on validation) after each "
        f"epoch, one curve a seed. Dots: the epoch whose checkpoint was chosen by the rule {', '.join(rules)}, which "
        f"looks at validation alone. Chosen epochs, in the order of seeds: {epochs}. Methods that explain one network "
        "show the same curves: it was trained once. Methods without a training are left out. "
        f"{source.about(dataset, pairs)}"
    )


def _curve(axis: Axes, content: dict[str, Any], field: str, style: MethodStyle) -> None:
    history = content["history"]
    if not history:
        return
    epochs = np.array([epoch["epoch"] for epoch in history])
    # None where it was not finite.
    values: npt.NDArray[np.float64] = np.array([epoch[field] for epoch in history], np.float64)
    seed, chosen = content["seed"], content["operating_point"]["epoch"]
    axis.plot(epochs, values, color=style.colour, linewidth=0.8, alpha=0.75, label=f"seed {seed}")
    at = epochs == chosen
    axis.plot(epochs[at], values[at], linestyle="none", marker="o", markersize=3.6, color=LINE, zorder=3,
              markerfacecolor=style.colour, markeredgewidth=0.6, label=f"chosen {seed}")  # fmt: skip


def _range(lines: Sequence[Line2D]) -> tuple[float, float]:
    """Of an accuracy: from what is seen, rounded to tenths, to 1, so that panels of one run can be compared."""
    values = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in lines])
    known = values[np.isfinite(values)]
    low = float(known.min()) if len(known) else 0.0
    return min(0.4, np.floor(10 * low) / 10), 1.02
