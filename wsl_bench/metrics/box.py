"""Box metrics of one map at every threshold at once.

The predicted boxes at threshold k are the tight boxes of the 8-connected components of {score >=
THRESHOLDS[k]}, half-open in pixels. Ground-truth boxes are clipped to the image and otherwise taken as they
are, fractions included; overlaps are areas in continuous coordinates.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsl_bench.metrics._neighbours import neighbour_offsets
from wsl_bench.metrics.grid import N_THRESHOLDS, threshold_bins
from wsl_bench.metrics.truth import checked_boxes

N_LEVELS = 19
OVERLAP_LEVELS: NDArray[np.float64] = np.arange(1, N_LEVELS + 1) / 20
OVERLAP_LEVELS.flags.writeable = False


def level_index(level: float) -> int:
    """The place of an IoU level (0.05, 0.10 .. 0.95) in `OVERLAP_LEVELS`."""
    index = round(level * (N_LEVELS + 1)) - 1
    if not (0 <= index < N_LEVELS and OVERLAP_LEVELS[index] == level):
        raise ValueError(f"overlap level: expected a multiple of 0.05 from 0.05 to 0.95, found {level!r}")
    return index


# The spans of the sweep are 2**0 .. 2**9 bins long, enough for an interval of up to 1001 bins.
N_SPANS = 10
# Seven numbers a component and one of padding: half a cache line.
_NODE_WIDTH = 8


@dataclass(frozen=True)
class BoxCurves:
    """What `box_curves` gives for one image with K ground-truth boxes, at the thresholds of the grid.

    Attributes:
        components: uint32 (1001,), number of components.
        iou_largest: float64 (K, 1001), IoU of the largest component's box with each ground-truth box. The
            largest has the most pixels; among equals it is the one whose first pixel comes first in raster
            order.
        iou_any: float64 (K, 1001), highest IoU of any component's box with each ground-truth box.
        iobb_any: float64 (K, 1001), highest |b and g| / |b| of any component's box b.
        hits_iou: uint32 (19, 1001), components whose highest IoU with a ground-truth box is at least
            OVERLAP_LEVELS[l] = 0.05, 0.10 .. 0.95.
        hits_iobb: uint32 (19, 1001), the same with |b and g| / |b|.

    Where nothing is predicted everything is 0.
    """

    components: NDArray[np.uint32]
    iou_largest: NDArray[np.float64]
    iou_any: NDArray[np.float64]
    iobb_any: NDArray[np.float64]
    hits_iou: NDArray[np.uint32]
    hits_iobb: NDArray[np.uint32]


def box_curves(scores: NDArray[np.float32], boxes: NDArray[np.float64]) -> BoxCurves:
    """Components, overlaps and hits of one image at all 1001 thresholds.

    An overlap equal to a level counts (>=), and equal fractions compare equal: 3 of 5 pixels reach the level
    0.60, because quotients and levels are both correctly rounded.

    Args:
        scores: float32 (H, W) in [0, 1], at least one pixel.
        boxes: (K, 4) x, y, width, height in pixels; K = 0 for a healthy image, of which only the components
            are counted. A box wholly outside the image overlaps nothing.

    Raises:
        ValueError: scores not two-dimensional, empty, of another dtype, not finite or outside [0, 1]; boxes
            of another shape, not finite or with a negative size.

    Sources: boxes of thresholded maps as in Zhou et al., CVPR 2016 (largest) and Choe et al., CVPR 2020
    (any); intersection over the detected box as in Wang et al., ChestX-ray8, CVPR 2017.
    """
    # Here and not at the top, so that reading a tally does not import numba.
    from wsl_bench.metrics import _box_kernels as kernels

    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"scores: expected a map (H, W) with at least one pixel, found the shape {scores.shape}")
    height, width = scores.shape
    edges = _clipped_edges(checked_boxes(boxes), height, width)
    bins, n_boxes = threshold_bins(scores), len(edges)
    room = _scratch.of(height, width, n_boxes)
    starts = np.zeros(N_THRESHOLDS + 1, dtype=np.int64)
    kernels.sort_by_bin(bins, starts, room.order)
    grid = neighbour_offsets(width + 2), room.around, room.labels, room.parent
    components = np.zeros(N_THRESHOLDS, dtype=np.uint32)
    largest = np.zeros((n_boxes, N_THRESHOLDS))
    hits = np.zeros((2, N_LEVELS, N_THRESHOLDS), dtype=np.uint32)
    if n_boxes == 0:
        kernels.count_components(starts, room.order, *grid, components)
    else:
        kernels.sweep(
            starts, room.order, width + 2, *grid, room.nodes, edges, room.spans, room.passed, components, largest
        )
        kernels.settle_spans(room.spans)
        kernels.settle_hits(room.passed, hits)
    # Copies, for the scratch is used again.
    iou_any, iobb_any = room.spans[:, :, 0].copy()
    return BoxCurves(components, largest, iou_any, iobb_any, hits[0], hits[1])


@dataclass(frozen=True)
class _Room:
    """Scratch arrays of one map's size; `around`, `spans` and `passed` are zero when handed out."""

    order: NDArray[np.int32]
    around: NDArray[np.uint8]
    labels: NDArray[np.int32]
    parent: NDArray[np.int32]
    nodes: NDArray[np.int32]
    spans: NDArray[np.float64]
    passed: NDArray[np.int32]


class _Scratch(threading.local):
    """Each thread keeps the scratch of the last map's size: a fresh page costs more than the work done on it."""

    def __init__(self) -> None:
        self._size: tuple[int, int, int] | None = None
        self._room: _Room | None = None

    def of(self, height: int, width: int, n_boxes: int) -> _Room:
        """Scratch for a map of this size and its ground-truth boxes."""
        if self._room is None or self._size != (height, width, n_boxes):
            padded = (height + 2) * (width + 2)
            # A component is born where no neighbour has joined: at one pixel of any four that touch, at most.
            most = ((height + 1) // 2) * ((width + 1) // 2)
            self._size, self._room = (
                (height, width, n_boxes),
                _Room(
                    order=np.empty(height * width, dtype=np.int32),
                    around=np.empty(padded, dtype=np.uint8),
                    labels=np.empty(padded, dtype=np.int32),
                    parent=np.empty(most, dtype=np.int32),
                    nodes=np.empty((most if n_boxes else 0, _NODE_WIDTH), dtype=np.int32),
                    spans=np.empty((2, n_boxes, N_SPANS, N_THRESHOLDS)),
                    passed=np.empty((2, N_LEVELS + 1, N_THRESHOLDS), dtype=np.int32),
                ),
            )
        for array in (self._room.around, self._room.spans, self._room.passed):
            array.fill(0)
        return self._room


_scratch = _Scratch()


def _clipped_edges(boxes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Left, top, right, bottom of x, y, width, height boxes, clipped to the image."""
    edges = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return np.ascontiguousarray(np.clip(edges, 0, [width, height, width, height]))
