"""Pictures of a map: panels side by side, or everything over one another."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wsl_bench.data.geometry import stretched
from wsl_bench.report.style import COLOURS, plain

if TYPE_CHECKING:
    from wsl_bench.notebook.maps import Maps

TRUTH, MASK = COLOURS[2], COLOURS[5]  # green and light blue: seen on grey and on the map's dark red to yellow
_MAP = "magma"
_SIDE = 2.1  # inches of a panel
_FIGURES = (("iou", "IoU"), ("iop", "IoP"), ("fnr", "FNR"))


def panels(maps: Maps) -> Figure:
    """One row of panels: input, ground truth, map, mask, then every extra map in its own range."""
    n, cells = 4 + len(maps.extra), "x".join(map(str, maps.score.shape))
    figure = Figure(figsize=(_SIDE * n, _SIDE + 0.5), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)[0]
    titles = ["input", "ground truth" if maps.truth.any() else "no ground truth", f"map ({cells}), 0 to 1",
              f"mask, threshold {maps.threshold:g}"]  # fmt: skip
    for axis, title in zip(axes, titles, strict=False):
        _bare(axis, title)
    for axis in (axes[0], axes[1], axes[3]):
        axis.imshow(maps.image, cmap="gray", vmin=0, vmax=255)
    axes[2].imshow(_in_square(maps), cmap=_MAP, vmin=0, vmax=1)
    _fill(axes[3], maps.mask)
    _outline(axes[3], maps.mask, MASK)
    for axis in axes[1:4]:
        _outline(axis, maps.truth, TRUTH)
    for axis, (name, values) in zip(axes[4:], maps.extra.items(), strict=True):
        axis.imshow(values, cmap=_MAP)
        _bare(axis, f"{plain(name)}, {values.min():.2g} to {values.max():.2g}")
    figure.suptitle(_title(maps), fontsize=9, x=0.01, ha="left")
    return figure


def draw_overlay(maps: Maps, axis: Axes) -> None:
    """The image with the map over it, and the outlines of ground truth and mask."""
    axis.imshow(maps.image, cmap="gray", vmin=0, vmax=255)
    axis.imshow(_in_square(maps), cmap=_MAP, vmin=0, vmax=1, alpha=0.45)
    handles = []
    for mask, colour, name in ((maps.mask, MASK, "mask"), (maps.truth, TRUTH, "ground truth")):
        if mask.any():
            _outline(axis, mask, colour)
            handles.append(Line2D([], [], color=colour, label=name))
    if handles:
        axis.legend(handles=handles, fontsize=7, loc="lower right", framealpha=0.8)
    _bare(axis, f"{plain(maps.method)}, seed {maps.seed}, {plain(maps.image_id)}")


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _title(maps: Maps) -> str:
    measured = maps.measured
    parts = ["diseased" if maps.label else "healthy"]
    if measured["probability"] == measured["probability"]:
        parts.append(f"probability {measured['probability']:.2f}")
    if measured["located"]:
        parts += [f"{name} {measured[key]:.2f}" for key, name in _FIGURES]
    else:
        parts.append(f"{measured['predicted']:.0%} of the image predicted")
    return f"{plain(maps.method)}, seed {maps.seed}, {plain(maps.image_id)}: {', '.join(parts)}"


def _bare(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])


def _in_square(maps: Maps) -> npt.NDArray[np.float32]:
    """The score map at the size of the input: what is thresholded."""
    return stretched(maps.score, len(maps.image), len(maps.image))


def _fill(axis: Axes, mask: npt.NDArray[np.bool_]) -> None:
    colour = np.array([int(MASK[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    layer = np.zeros((*mask.shape, 4))
    layer[mask] = [*colour, 0.4]
    axis.imshow(layer, interpolation="nearest")


def _outline(axis: Axes, mask: npt.NDArray[np.bool_], colour: str) -> None:
    """Along the edges of pixels, so that what is outlined is what is counted."""
    padded = np.pad(mask, 1)
    rows, columns = np.nonzero(padded[1:] != padded[:-1])
    lines: list[Any] = [[(c - 1.5, r - 0.5), (c - 0.5, r - 0.5)] for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])
    lines += [[(c - 0.5, r - 1.5), (c - 0.5, r - 0.5)] for r, c in zip(rows, columns, strict=True)]
    axis.add_collection(LineCollection(lines, colors=colour, linewidths=1.4, capstyle="round"), autolim=False)
