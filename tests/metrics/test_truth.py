"""Boxes to pixels and pixels to boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsl_bench.metrics.truth import boxes_from_mask, rasterize_boxes

from .maps import quarter_boxes, scored_truths


def pixels_of(mask: NDArray[np.bool_]) -> set[tuple[int, int]]:
    return {(int(y), int(x)) for y, x in np.argwhere(mask)}


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_rasterizing_is_the_centre_rule(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    boxes = data.draw(quarter_boxes(shape))
    expected = {
        (row, column)
        for row in range(shape[0])
        for column in range(shape[1])
        if any(x <= column + 0.5 < x + w and y <= row + 0.5 < y + h for x, y, w, h in boxes)
    }
    mask = rasterize_boxes(boxes, *shape)
    assert mask.shape == shape
    assert pixels_of(mask) == expected


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1, 0, 2, 1), {(0, 1), (0, 2)}),
        ((0.5, 0.5, 1, 1), {(0, 0)}),
        ((0.51, 0, 1, 1), {(0, 1)}),
        ((0.6, 0, 0.8, 1), set()),
        ((1.4, 0, 0.2, 1), {(0, 1)}),
        ((1, 0, 0, 1), set()),
        ((-5, -5, 6, 6), {(0, 0)}),
        ((2, 1, 50, 50), {(1, 2)}),
        ((3, 2, 1, 1), set()),
        ((-1, -1, 9, 9), {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)}),
    ],
)
def test_rasterizing_by_hand(box: tuple[float, ...], expected: set[tuple[int, int]]) -> None:
    assert pixels_of(rasterize_boxes(np.array([box], dtype=np.float64), 2, 3)) == expected


def test_boxes_that_share_an_edge_share_no_pixel() -> None:
    left, right = np.array([[0, 0, 2.5, 2]]), np.array([[2.5, 0, 1.5, 2]])
    one, other = rasterize_boxes(left, 2, 4), rasterize_boxes(right, 2, 4)
    assert not (one & other).any()
    assert (one | other).all()


def test_no_boxes_make_an_empty_mask() -> None:
    assert not rasterize_boxes(np.zeros((0, 4)), 3, 4).any()


@pytest.mark.parametrize(
    ("boxes", "match"),
    [
        (np.zeros(4), r"shape \(K, 4\)"),
        (np.zeros((2, 5)), r"shape \(K, 4\)"),
        (np.array([[0, 0, np.nan, 1]]), "finite"),
        (np.array([[0, 0, -1, 1]]), "negative width"),
    ],
)
def test_bad_boxes_are_refused(boxes: NDArray[np.float64], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        rasterize_boxes(boxes, 4, 4)


def flooded_boxes(mask: NDArray[np.bool_]) -> list[list[int]]:
    """Tight boxes by flooding from each unseen pixel in raster order."""
    unseen, boxes = pixels_of(mask), []
    while unseen:
        front = [min(unseen)]
        unseen.discard(front[0])
        component = []
        while front:
            y, x = front.pop()
            component.append((y, x))
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & unseen
            unseen -= around
            front.extend(around)
        rows, columns = [y for y, _ in component], [x for _, x in component]
        top, left = min(rows), min(columns)
        boxes.append([left, top, max(columns) - left + 1, max(rows) - top + 1])
    return boxes


@settings(deadline=None, max_examples=100)
@given(scored_truths())
def test_boxes_of_a_mask_against_flooding(sample: tuple[NDArray[np.float32], NDArray[np.bool_]]) -> None:
    _, mask = sample
    boxes = boxes_from_mask(mask)
    assert boxes.shape == (len(boxes), 4)
    assert boxes.dtype == np.float64
    assert boxes.tolist() == flooded_boxes(mask)


def test_boxes_of_a_mask_by_hand() -> None:
    mask = np.array([[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 1]], dtype=np.bool_)
    assert boxes_from_mask(mask).tolist() == [[3, 0, 1, 1], [0, 1, 2, 2], [3, 2, 1, 1]]


def test_boxes_of_something_else_are_refused() -> None:
    with pytest.raises(ValueError, match="expected bool"):
        boxes_from_mask(np.zeros((2, 2)))  # type: ignore[arg-type]
