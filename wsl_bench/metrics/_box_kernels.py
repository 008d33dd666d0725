"""Compiled sweep over the components of a map at every threshold. Imported on first use, for numba is slow.

Pixels join in descending bin order, so the components of P(t) only grow and merge: union-find over *nodes*, one
for each component ever born. Most pixels join the one component beside them, so that is made cheap: every pixel
keeps a byte that says which of its eight neighbours have joined, and a table says which of these are enough to
reach every component around. Pixels are numbered in raster order on a grid with a margin of one pixel on every
side, whose pixels never join; so no neighbour needs a border check.

The box of a component stays the same over an interval of bins, its *life*; it is scored once, when that life
ends, and the scores go to the whole interval at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsl_bench.jit import compiled
from wsl_bench.metrics._neighbours import GROUPS, REPRESENTATIVE
from wsl_bench.metrics.box import N_LEVELS, N_SPANS, OVERLAP_LEVELS
from wsl_bench.metrics.grid import N_THRESHOLDS

Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Doubles = NDArray[np.float64]

# Columns of `nodes`. A box is half-open in pixels of the map; BIRTH is the highest bin of the
# box's life. FIRST is the first pixel in raster order.
SIZE, FIRST, LEFT, TOP, RIGHT, BOTTOM, BIRTH = 0, 1, 2, 3, 4, 5, 6
_LOW = 0xFFFFFFFF
# The longest span of 2**j bins that fits into an interval; two of it, perhaps overlapping, cover the
# interval.
_SPAN = np.array([0] + [n.bit_length() - 1 for n in range(1, N_THRESHOLDS + 1)], dtype=np.int8)


@compiled
def sort_by_bin(bins: NDArray[np.int16], starts: NDArray[np.int64], order: Ints) -> None:
    """Sort the pixels of `bins` (H, W) by descending bin, within a bin in raster order.

    `order` (H*W,) takes their numbers on the grid with a margin; the pixels of bin k are
    order[starts[k + 1] : starts[k]], with `starts` (1002,) the number of pixels in bin k or above.
    """
    height, width = bins.shape
    for y in range(height):
        for x in range(width):
            starts[bins[y, x]] += 1
    for k in range(N_THRESHOLDS - 1, -1, -1):
        starts[k] += starts[k + 1]
    cursor = starts[1:].copy()
    for y in range(height):
        for x in range(width):
            k = bins[y, x]
            order[cursor[k]] = (y + 1) * (width + 2) + x + 1
            cursor[k] += 1


@compiled
def _find(parent: Ints, node: int) -> int:
    up = parent[np.uint64(node)]
    while up != node:
        above = parent[np.uint64(up)]
        parent[np.uint64(node)] = above
        node = up
        up = above
    return node


@compiled
def _announce(around: Bytes, offsets: Ints, pixel: int) -> None:
    """Tell the eight neighbours that the pixel has joined.

    Written out, and with indices that cannot be negative, because it is the larger part of the sweep.
    """
    here, one = np.uint64(pixel), np.uint64(1)
    above, below = np.uint64(pixel + offsets[1]), np.uint64(pixel + offsets[6])
    around[above - one] |= np.uint8(128)
    around[above] |= np.uint8(64)
    around[above + one] |= np.uint8(32)
    around[here - one] |= np.uint8(16)
    around[here + one] |= np.uint8(8)
    around[below - one] |= np.uint8(4)
    around[below] |= np.uint8(2)
    around[below + one] |= np.uint8(1)


@compiled
def count_components(
    starts: NDArray[np.int64],
    order: Ints,
    offsets: Ints,
    around: Bytes,
    labels: Ints,
    parent: Ints,
    out: NDArray[np.uint32],
) -> None:
    """Fill `out` (1001,) with the number of components at every threshold."""
    alive, born = 0, 0
    for k in range(N_THRESHOLDS - 1, -1, -1):
        for i in range(starts[k + 1], starts[k]):
            pixel = order[i]
            joined = around[np.uint64(pixel)]
            _announce(around, offsets, pixel)
            if joined == 0:
                parent[born] = born
                labels[pixel] = born
                born += 1
                alive += 1
                continue
            root = _find(parent, labels[np.uint64(pixel + offsets[REPRESENTATIVE[joined, 0]])])
            for j in range(1, GROUPS[joined]):
                other = _find(parent, labels[np.uint64(pixel + offsets[REPRESENTATIVE[joined, j]])])
                if other != root:
                    parent[other] = root
                    alive -= 1
            labels[np.uint64(pixel)] = root
        out[k] = alive


@compiled
def _overlap(nodes: Ints, root: int, boxes: Doubles, g: int) -> tuple[float, float]:
    """IoU and |b and g| / |b| of a component's box b with ground-truth box g (left, top, right, bottom)."""
    left, top = max(nodes[root, LEFT], boxes[g, 0]), max(nodes[root, TOP], boxes[g, 1])
    right, bottom = min(nodes[root, RIGHT], boxes[g, 2]), min(nodes[root, BOTTOM], boxes[g, 3])
    if left >= right or top >= bottom:
        return 0.0, 0.0
    both = (right - left) * (bottom - top)
    area = float(nodes[root, RIGHT] - nodes[root, LEFT]) * float(nodes[root, BOTTOM] - nodes[root, TOP])
    of_truth = (boxes[g, 2] - boxes[g, 0]) * (boxes[g, 3] - boxes[g, 1])
    return both / (area + of_truth - both), both / area


@compiled
def _levels_reached(overlap: float) -> int:
    """How many of the levels the overlap reaches."""
    n = min(int(overlap * (N_LEVELS + 1)), N_LEVELS)
    # The product may round up to a level that the overlap just misses. It falls short of none that is
    # reached.
    return n - 1 if n > 0 and overlap < OVERLAP_LEVELS[n - 1] else n


@compiled
def _raise_to(spans: Doubles, kind: int, g: int, low: int, high: int, value: float) -> None:
    """Raise the bins low..high to at least `value`; `spans[kind, g, j, i]` is for the 2**j bins from i on."""
    j = _SPAN[high - low + 1]
    second = high + 1 - (1 << j)
    spans[kind, g, j, low] = max(spans[kind, g, j, low], value)
    spans[kind, g, j, second] = max(spans[kind, g, j, second], value)


@compiled
def _end_life(nodes: Ints, root: int, k: int, boxes: Doubles, spans: Doubles, passed: Ints) -> None:
    """Score the box that `root` has had since its birth and loses at bin k, for the bins k + 1 .. birth."""
    birth = nodes[root, BIRTH]
    best_iou, best_iobb = 0.0, 0.0
    for g in range(len(boxes)):
        iou, iobb = _overlap(nodes, root, boxes, g)
        if iobb > 0.0:
            _raise_to(spans, 0, g, k + 1, birth, iou)
            _raise_to(spans, 1, g, k + 1, birth, iobb)
            best_iou, best_iobb = max(best_iou, iou), max(best_iobb, iobb)
    reached_iou, reached_iobb = _levels_reached(best_iou), _levels_reached(best_iobb)
    passed[0, reached_iou, birth] += 1
    passed[1, reached_iobb, birth] += 1
    if k >= 0:
        passed[0, reached_iou, k] -= 1
        passed[1, reached_iobb, k] -= 1


@compiled
def _grows(nodes: Ints, keep: int, lose: int) -> bool:
    """Whether the box of `keep` has to grow to take in that of `lose`."""
    return bool(
        nodes[lose, LEFT] < nodes[keep, LEFT]
        or nodes[lose, TOP] < nodes[keep, TOP]
        or nodes[lose, RIGHT] > nodes[keep, RIGHT]
        or nodes[lose, BOTTOM] > nodes[keep, BOTTOM]
    )


@compiled
def _merge(nodes: Ints, parent: Ints, a: int, b: int, k: int, boxes: Doubles, spans: Doubles, passed: Ints) -> int:
    """Make one component of the roots a and b at bin k and return its root; lives that end are scored."""
    keep, lose = (a, b) if nodes[a, SIZE] > nodes[b, SIZE] else (b, a)
    # What was born at this very bin has not been seen at any threshold yet: nothing to score.
    if nodes[lose, BIRTH] > k:
        _end_life(nodes, lose, k, boxes, spans, passed)
    if _grows(nodes, keep, lose):
        if nodes[keep, BIRTH] > k:
            _end_life(nodes, keep, k, boxes, spans, passed)
        nodes[keep, LEFT] = min(nodes[keep, LEFT], nodes[lose, LEFT])
        nodes[keep, TOP] = min(nodes[keep, TOP], nodes[lose, TOP])
        nodes[keep, RIGHT] = max(nodes[keep, RIGHT], nodes[lose, RIGHT])
        nodes[keep, BOTTOM] = max(nodes[keep, BOTTOM], nodes[lose, BOTTOM])
        nodes[keep, BIRTH] = k
    nodes[keep, SIZE] += nodes[lose, SIZE]
    nodes[keep, FIRST] = min(nodes[keep, FIRST], nodes[lose, FIRST])
    parent[lose] = keep
    return keep


@compiled
def _start(nodes: Ints, parent: Ints, node: int, pixel: int, x: int, y: int, k: int) -> None:
    """Make the pixel a component of its own."""
    nodes[node, SIZE], nodes[node, FIRST], nodes[node, BIRTH] = 1, pixel, k
    nodes[node, LEFT], nodes[node, TOP], nodes[node, RIGHT], nodes[node, BOTTOM] = x, y, x + 1, y + 1
    parent[node] = node


@compiled
def _within(nodes: Ints, root: int, x: int, y: int) -> bool:
    """Whether a pixel lies in the box of a component."""
    return bool(x >= nodes[root, LEFT] and x < nodes[root, RIGHT] and y >= nodes[root, TOP] and y < nodes[root, BOTTOM])


@compiled
def _grow(nodes: Ints, root: int, x: int, y: int, k: int, boxes: Doubles, spans: Doubles, passed: Ints) -> None:
    """Make the box of a component reach to a pixel that joins it at bin k; a life that ends is scored."""
    if nodes[root, BIRTH] > k:
        _end_life(nodes, root, k, boxes, spans, passed)
        nodes[root, BIRTH] = k
    nodes[root, LEFT], nodes[root, TOP] = min(nodes[root, LEFT], x), min(nodes[root, TOP], y)
    nodes[root, RIGHT], nodes[root, BOTTOM] = max(nodes[root, RIGHT], x + 1), max(nodes[root, BOTTOM], y + 1)


@compiled
def sweep(
    starts: NDArray[np.int64],
    order: Ints,
    stride: int,
    offsets: Ints,
    around: Bytes,
    labels: Ints,
    parent: Ints,
    nodes: Ints,
    boxes: Doubles,
    spans: Doubles,
    passed: Ints,
    components: NDArray[np.uint32],
    largest: Doubles,
) -> None:
    """Walk down the bins once, with ground-truth boxes (K, 4) left, top, right, bottom.

    Fills, zero at the start: `components` (1001,); `largest` (K, 1001); `spans` (2, K, 10, 1001), of IoU and
    of IoBB, for `settle_spans`; `passed` (2, 20, 1001) for `settle_hits`, whose row n stands for components
    that reach exactly n levels: +1 where such a life begins and -1 where it is over.

    The largest component is the maximum of (size, earlier first pixel) over all components ever seen: one
    only gets larger, and one that is absorbed is smaller than its absorber. So it needs no search: `top` is that
    maximum as one number, size * 2**32 - first pixel, taken without a branch.
    """
    alive, born, top = 0, 0, np.int64(0)
    first_of = np.empty(256, np.int32)
    for joined in range(256):
        first_of[joined] = offsets[REPRESENTATIVE[joined, 0]]
    per_row = 1.0 / stride
    for k in range(N_THRESHOLDS - 1, -1, -1):
        for i in range(starts[k + 1], starts[k]):
            pixel = order[i]
            # A product instead of a slow integer division; half a pixel keeps it clear of rounding.
            row = int((pixel + 0.5) * per_row)
            y, x = row - 1, pixel - row * stride - 1
            joined = around[np.uint64(pixel)]
            _announce(around, offsets, pixel)
            if joined == 0:
                root = born
                _start(nodes, parent, root, pixel, x, y, k)
                born += 1
                alive += 1
            else:
                root = _find(parent, labels[np.uint64(pixel + first_of[joined])])
                at = np.uint64(root)  # so that the compiler need not ask whether it counts from the end
                nodes[at, SIZE] += 1
                if pixel < nodes[at, FIRST]:
                    nodes[at, FIRST] = pixel
                # The rare case is a call with many arguments; the usual one must not pay for it.
                if not _within(nodes, root, x, y):
                    _grow(nodes, root, x, y, k, boxes, spans, passed)
                for j in range(1, GROUPS[joined]):
                    other = _find(parent, labels[np.uint64(pixel + offsets[REPRESENTATIVE[joined, j]])])
                    if other != root:
                        root = _merge(nodes, parent, root, other, k, boxes, spans, passed)
                        alive -= 1
            labels[np.uint64(pixel)] = root
            at = np.uint64(root)
            top = max(top, (np.int64(nodes[at, SIZE]) << 32) - np.int64(nodes[at, FIRST]))
        components[k] = alive
        if starts[k] > starts[k + 1]:
            largest_root = _find(parent, labels[-top & _LOW])
            for g in range(len(boxes)):
                largest[g, k] = _overlap(nodes, largest_root, boxes, g)[0]
        elif k + 1 < N_THRESHOLDS:
            largest[:, k] = largest[:, k + 1]
    # At threshold 0 every pixel is in, so one component is left.
    _end_life(nodes, _find(parent, labels[-top & _LOW]), -1, boxes, spans, passed)


@compiled
def settle_spans(spans: Doubles) -> None:
    """Hand the values of longer spans (2, K, 10, 1001) down, until spans[:, :, 0] holds them bin by bin.

    A span of 2 * half bins from i on is one of `half` bins from i on and one from i + half on.
    """
    for kind in range(2):
        for g in range(spans.shape[1]):
            for j in range(N_SPANS - 1, 0, -1):
                half = 1 << (j - 1)
                longer, shorter = spans[kind, g, j], spans[kind, g, j - 1]
                for i in range(N_THRESHOLDS - 2 * half + 1):
                    if longer[i] > 0.0:
                        shorter[i] = max(shorter[i], longer[i])
                        shorter[i + half] = max(shorter[i + half], longer[i])


@compiled
def settle_hits(passed: Ints, hits: NDArray[np.uint32]) -> None:
    """Fill `hits` (2, 19, 1001): a hit at level l reaches more than l levels, born at this bin or above."""
    for kind in range(2):
        for level in range(N_LEVELS - 1, -1, -1):
            alive = 0
            for k in range(N_THRESHOLDS - 1, -1, -1):
                alive += passed[kind, level + 1, k]
                higher = hits[kind, level + 1, k] if level + 1 < N_LEVELS else np.uint32(0)
                hits[kind, level, k] = alive + higher
