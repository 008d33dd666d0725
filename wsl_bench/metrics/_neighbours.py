"""The eight neighbours of a pixel, and which of them are enough to reach every component around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The eight neighbours as (row, column) steps; neighbour i sees the pixel as its own neighbour 7 - i.
_STEPS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def _representatives() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """For every set of joined neighbours (a byte): how many groups that touch each other, and one of each group."""
    counts, chosen = np.zeros(256, dtype=np.uint8), np.zeros((256, 4), dtype=np.uint8)
    for joined in range(256):
        unseen = {i for i in range(8) if joined >> i & 1}
        while unseen:
            front = [min(unseen)]
            chosen[joined, counts[joined]] = front[0]
            counts[joined] += 1
            unseen.discard(front[0])
            while front:
                row, column = _STEPS[front.pop()]
                near = {i for i in unseen if abs(_STEPS[i][0] - row) <= 1 and abs(_STEPS[i][1] - column) <= 1}
                unseen -= near
                front += near
    return counts, chosen


GROUPS, REPRESENTATIVE = _representatives()


def neighbour_offsets(stride: int) -> NDArray[np.int32]:
    """(8,) what to add to a pixel's number to get its neighbours', on a grid of rows of `stride` pixels."""
    return np.array([row * stride + column for row, column in _STEPS], dtype=np.int32)
