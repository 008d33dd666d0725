"""Small multiples: one panel a method, two beside each other."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsl_bench.report.style import COLUMN, TEXT, short


def method_panels(names: list[str]) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each name, in order; axes are shared, and a place left over stays empty."""
    columns = min(2, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(COLUMN, 0.75 + 1.15 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    axes = list(grid.ravel())
    for axis, name in zip(axes, names, strict=False):
        axis.set_title(short(name, 22), fontsize=TEXT, loc="left", pad=2)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
        # Ticks of a shared axis stand under its lowest panel only, which here is the one above; the empty place has
        # room for them, so the layout need not make any.
        above = grid[lines - 2, columns - 1]
        above.tick_params(labelbottom=True)
        above.xaxis.set_in_layout(False)
    return figure, axes[: len(names)]
