"""Small hostile score maps and boxes for the tests of the metrics."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

# Written out here, so that a change of the grid in the package cannot go unnoticed.
GRID = [np.float32(k / 1000) for k in range(1001)]


def edges() -> NDArray[np.float32]:
    """Every threshold and its neighbours among the float32 numbers in [0, 1]."""
    grid = np.array(GRID)
    around = [grid, np.nextafter(grid[1:], np.float32(0)), np.nextafter(grid[:-1], np.float32(1))]
    return np.unique(np.concatenate(around)).astype(np.float32)


@st.composite
def score_maps(draw: st.DrawFn, max_side: int = 9) -> NDArray[np.float32]:
    """Noisy, tie-heavy, constant, blank, on-threshold, smooth; from one pixel to non-square."""
    shape = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "ties", "binary", "constant", "blank", "edges", "slope", "sparse"]))
    if kind == "noise":
        scores = rng.random(shape)
    elif kind == "ties":
        scores = rng.choice(rng.random(3), shape)
    elif kind == "binary":
        scores = rng.integers(0, 2, shape).astype(np.float64)
    elif kind == "constant":
        scores = np.full(shape, rng.choice(edges()))
    elif kind == "blank":
        scores = np.zeros(shape)
    elif kind == "edges":
        scores = rng.choice(edges(), shape)
    elif kind == "slope":
        rows, columns = np.indices(shape)
        scores = (rows * rng.random() + columns * rng.random()) / (shape[0] + shape[1])
    else:
        scores = rng.random(shape) * (rng.random(shape) < 0.2)
    return scores.astype(np.float32)


@st.composite
def quarter_boxes(draw: st.DrawFn, shape: tuple[int, int], max_boxes: int = 5) -> NDArray[np.float64]:
    """Up to five boxes on quarters of a pixel, perhaps overlapping, thin, across the border or outside."""
    height, width = shape
    box = st.tuples(
        st.integers(-6, 4 * width + 2),
        st.integers(-6, 4 * height + 2),
        st.integers(1, 4 * width + 4),
        st.integers(1, 4 * height + 4),
    )
    columns, rows = (st.integers(0, side - 1).map(lambda edge: 4 * edge) for side in (width, height))
    whole = st.tuples(columns, rows, st.just(4), st.just(4))
    return np.array(draw(st.lists(box | whole, max_size=max_boxes)), dtype=np.float64).reshape(-1, 4) / 4


@st.composite
def scored_truths(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A score map and a mask of its shape, perhaps empty or full."""
    scores = draw(score_maps())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return scores, rng.random(scores.shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))


@st.composite
def scored_boxes(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A score map and boxes."""
    scores = draw(score_maps())
    return scores, draw(quarter_boxes(scores.shape))
