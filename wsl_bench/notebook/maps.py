"""The map of one method, training and test image, beside the image and its ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wsl_bench.data.geometry import stretched

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Map = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False, repr=False)
class Maps:
    """What a method says about one test image, in the square that the network sees (S x S pixels).

    It is for the eye: maps are kept in half precision, so that a score within 0.0005 of the threshold may fall on the
    other side of it, and image and ground truth are letterboxed to the square. The numbers in `measured` were counted
    in single precision at the resolution of the ground truth.

    Attributes:
        dataset, method, image_id, seed: what it is of; `label` 0 or 1.
        image: (S, S) uint8.
        truth: (S, S) bool; all False where the image has no ground truth.
        score: (h, w) float32 in [0, 1], scaled as it was frozen; it covers the square.
        mask: (S, S) bool, `score` brought to the square and thresholded; False outside the image.
        threshold: the frozen one.
        extra: other maps of the method by name, (h, w) float32: InfoMask's `mu` and `sigma`.
        measured: located, area, iop, fpr, fnr, iou, dice, probability, predicted of the image, as in `Run.per_image`.
    """

    dataset: str
    method: str
    image_id: str
    seed: int
    label: int
    image: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.bool_]
    score: Map
    mask: npt.NDArray[np.bool_]
    threshold: float
    extra: Mapping[str, Map]
    measured: Mapping[str, float]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw image, map, truth outline and mask outline over each other; into a new pyplot figure by default."""
        from wsl_bench.notebook.draw import draw_overlay

        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots(figsize=(3.6, 3.6), layout="constrained")[1]
        draw_overlay(self, ax)
        return ax

    def figure(self) -> Figure:
        """Input, ground truth, map and mask side by side, and other maps of the method if it has any."""
        from wsl_bench.notebook.draw import panels

        return panels(self)

    def __repr__(self) -> str:
        iou = f"IoU {self.measured['iou']:.3f}" if self.measured["located"] else "no ground truth"
        size = "x".join(map(str, self.score.shape))
        return f"<Maps of {self.method}, seed {self.seed}, {self.image_id}: {size} map, {iou}>"

    def _repr_png_(self) -> bytes:
        from wsl_bench.notebook.draw import png

        return png(self.figure())


def thresholded(score: Map, threshold: float, size: int, inside: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """A score map (h, w) of the square as a mask (size, size).

    Maps are kept in half precision, so the threshold is rounded like them: a score that reached it still does.

    Args:
        inside: top, left, height, width of the image in the square; outside nothing is predicted.
    """
    top, left, height, width = (int(value) for value in inside)
    found = np.zeros((size, size), np.bool_)
    place = slice(top, top + height), slice(left, left + width)
    found[place] = stretched(score, size, size)[place] >= np.float32(np.float16(threshold))
    return found
