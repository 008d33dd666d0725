"""Box metrics of one map at every threshold at once.

The predicted boxes at threshold k are the tight boxes of the 8-connected components of {score >=
THRESHOLDS[k]}, half-open in pixels. Ground-truth boxes are clipped to the image and otherwise taken as they
are, fractions included; overlaps are areas in continuous coordinates.
"""

from __future__ import annotations

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
    bins, stride, padded = threshold_bins(scores), width + 2, (height + 2) * (width + 2)
    order, starts = np.empty(scores.size, dtype=np.int32), np.zeros(N_THRESHOLDS + 1, dtype=np.int64)
    kernels.raster_by_bin(bins, starts, order)
    grid = neighbour_offsets(stride), np.zeros(padded, dtype=np.uint8), np.empty(padded, dtype=np.int32)
    # A component is born where no neighbour has joined: at one pixel of any four that touch, at most.
    most = ((height + 1) // 2) * ((width + 1) // 2)
    parent, n_boxes = np.empty(most, dtype=np.int32), len(edges)
    components = np.zeros(N_THRESHOLDS, dtype=np.uint32)
    largest = np.zeros((n_boxes, N_THRESHOLDS))
    spans = np.zeros((2, n_boxes, N_SPANS, N_THRESHOLDS))
    hits = np.zeros((2, N_LEVELS, N_THRESHOLDS), dtype=np.uint32)
    if n_boxes == 0:
        kernels.count_components(starts, order, *grid, parent, components)
    else:
        nodes = np.empty((most, _NODE_WIDTH), dtype=np.int32)
        passed = np.zeros((2, N_LEVELS + 1, N_THRESHOLDS), dtype=np.int32)
        kernels.sweep(starts, order, stride, *grid, parent, nodes, edges, spans, passed, components, largest)
        kernels.settle_spans(spans)
        kernels.settle_hits(passed, hits)
    # Copies, so that the scratch rows of `spans` do not live as long as the result.
    return BoxCurves(components, largest, spans[0, :, 0].copy(), spans[1, :, 0].copy(), hits[0], hits[1])


def _clipped_edges(boxes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Left, top, right, bottom of x, y, width, height boxes, clipped to the image."""
    edges = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return np.ascontiguousarray(np.clip(edges, 0, [width, height, width, height]))
