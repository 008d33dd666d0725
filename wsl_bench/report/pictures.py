"""Pictures of images, ground truth and maps on axes; and the places of many of them in a figure."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from wsl_bench.data.geometry import stretched
from wsl_bench.report.style import COLOURS, COLUMN, MAPS, OUTLINE, TEXT, short
from wsl_bench.store.display import Display

MASK = COLOURS[0]
Mask = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float32]
LINE_HEIGHT = 0.125  # inches, of a line of the smallest text


class Sheet:
    """A figure one column wide whose parts are placed in inches from its top left corner."""

    def __init__(self, height: float, below: float = 0.0) -> None:
        self.below = below  # where pictures end
        self.figure = Figure(figsize=(COLUMN, height))
        self._height = height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """New axes in this place."""
        return self.figure.add_axes(
            (left / COLUMN, 1 - (top + height) / self._height, width / COLUMN, height / self._height)
        )

    def text(self, left: float, top: float, text: str, **how: Any) -> None:
        """Text that hangs from this place, or stands as `how` says."""
        how = {"fontsize": TEXT, "va": "top", **how}
        self.figure.text(left / COLUMN, 1 - top / self._height, text, **how)


def wrapped(text: str, width: float = COLUMN - 0.1) -> list[str]:
    """Lines of the smallest text that are no longer than `width` inches."""
    # A letter of DejaVu Sans is half as wide as it is high, or a little more.
    return textwrap.wrap(text.replace("$", r"\$"), int(width / (0.55 * TEXT / 72)))


def heading(name: str) -> str:
    """A method's name for above a narrow column: short lines, broken at underscores and brackets."""
    broken = short(name, 40).replace("_", "_ ").replace("[", " [").replace(",", ", ")
    return "\n".join(line.replace("_ ", "_") for line in textwrap.wrap(broken, 12))


def inside(display: Display, j: int) -> tuple[slice, slice]:
    """Rows and columns of the square that hold the j-th image."""
    top, left, height, width = display.inside[j].tolist()
    return slice(top, top + height), slice(left, left + width)


def fitted(values: npt.NDArray[np.generic], display: Display, j: int) -> Float:
    """A map (h, w) of the square at the resolution of the j-th image without its padding, bilinear."""
    side = display.images.shape[1]
    return stretched(values.astype(np.float32), side, side)[inside(display, j)]


def mask_of(values: npt.NDArray[np.generic], threshold: float, display: Display, j: int) -> Mask:
    """Where a score map (h, w) reaches the threshold, at the resolution of the j-th image; for the eye alone."""
    return np.asarray(fitted(values, display, j) >= np.float32(threshold), np.bool_)


def show_image(axis: Axes, display: Display, j: int, *, outlined: bool, mask: Mask | None = None) -> None:
    """The j-th image in grey, with its ground truth's outline, and a mask laid over it in colour."""
    crop = inside(display, j)
    grey = np.repeat(display.images[j][crop][..., None] / 255, 3, axis=2)
    if mask is not None:
        grey[mask] = 0.4 * grey[mask] + 0.6 * np.array(to_rgb(MASK))
    axis.imshow(grey, interpolation="nearest", aspect="equal")
    if outlined:
        outline(axis, display.truth[j][crop], OUTLINE)
    bare(axis)


def show_map(axis: Axes, values: Float, low: float, high: float, truth: Mask | None = None) -> None:
    """A map in colours from `low` (dark) to `high` (yellow), with the ground truth's outline in white."""
    axis.imshow(values, cmap=MAPS, vmin=low, vmax=high, interpolation="nearest", aspect="equal")
    if truth is not None:
        outline(axis, truth, "white")
    bare(axis)


def outline(axis: Axes, truth: Mask, colour: str) -> None:
    """The border of a mask (H, W); closed where the mask touches the edge of the image."""
    if not truth.any():
        return
    padded = np.pad(truth, 1).astype(np.float64)
    height, width = truth.shape
    axis.contour(np.arange(-1, width + 1), np.arange(-1, height + 1), padded, levels=[0.5], colors=[colour],
                 linewidths=[0.6])  # fmt: skip
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def bare(axis: Axes) -> None:
    """No ticks, no frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
