"""The letterbox and its inverse, against torch and against a plain bilinear computation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl_bench.data.geometry import Letterbox

FloatArray = npt.NDArray[np.float32]


def _map(height: int, width: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).random((height, width), dtype=np.float32)


def _plain_bilinear(frame: Letterbox, score_map: FloatArray) -> npt.NDArray[np.float64]:
    """Pixel by pixel: where the centre of a stored pixel lies in the map, then the four cells around."""
    h, w = score_map.shape
    out = np.zeros((frame.height, frame.width))
    for row in range(frame.height):
        for column in range(frame.width):
            y = (frame.top + (row + 0.5) / frame.height * frame.inner_height) / frame.size * h - 0.5
            x = (frame.left + (column + 0.5) / frame.width * frame.inner_width) / frame.size * w - 0.5
            y, x = min(max(y, 0.0), h - 1.0), min(max(x, 0.0), w - 1.0)
            y0, x0 = math.floor(y), math.floor(x)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            top = score_map[y0, x0] * (1 - (x - x0)) + score_map[y0, x1] * (x - x0)
            bottom = score_map[y1, x0] * (1 - (x - x0)) + score_map[y1, x1] * (x - x0)
            out[row, column] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out


@pytest.mark.parametrize(
    ("stored", "size", "cells"), [(50, 32, 32), (32, 64, 8), (33, 32, 4), (17, 16, 1), (64, 64, 7)]
)
def test_a_square_image_is_torchs_interpolation(stored: int, size: int, cells: int) -> None:
    score_map = _map(cells, cells)
    frame = Letterbox.fit(stored, stored, size)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(score_map)[None, None], size=(stored, stored), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    np.testing.assert_allclose(frame.to_stored(score_map), expected, atol=2e-6)


def test_a_map_at_its_own_size_is_returned_as_it_is() -> None:
    score_map = _map(32, 32)
    np.testing.assert_array_equal(Letterbox.fit(32, 32, 32).to_stored(score_map), score_map)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(16, 48), st.integers(1, 20), st.integers(1, 20))
def test_a_padded_image_is_a_plain_bilinear_computation(height: int, width: int, size: int, h: int, w: int) -> None:
    frame, score_map = Letterbox.fit(height, width, size), _map(h, w)
    found = frame.to_stored(score_map)
    assert found.shape == (height, width)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _plain_bilinear(frame, score_map), atol=1e-5)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(16, 512))
def test_the_longer_side_fills_the_square_and_the_image_is_centred(height: int, width: int, size: int) -> None:
    frame = Letterbox.fit(height, width, size)
    assert max(frame.inner_height, frame.inner_width) == size
    assert min(frame.inner_height, frame.inner_width) >= 1
    assert abs(frame.inner_height * max(height, width) - height * size) <= max(height, width)
    for start, inner in ((frame.top, frame.inner_height), (frame.left, frame.inner_width)):
        assert 0 <= start <= start + inner <= size
        assert abs(size - inner - 2 * start) <= 1


def _box_of(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


@st.composite
def _boxed(draw: st.DrawFn) -> tuple[int, int, int, tuple[int, int, int, int]]:
    """An image size, a square at most four times smaller, a box of at least three cells a side."""
    size = draw(st.integers(24, 96))
    longest = draw(st.integers(max(12, size // 4), 4 * size))
    other = draw(st.integers(max(4, longest // 3), longest))
    height, width = draw(st.permutations([longest, other]))
    least = max(2, math.ceil(3 * longest / size))
    edges = []
    for side in (height, width):
        start = draw(st.integers(0, max(0, side - least)))
        edges += [start, draw(st.integers(min(side, start + least), side))]
    return height, width, size, (edges[0], edges[1], edges[2], edges[3])


@settings(max_examples=200, deadline=None)
@given(_boxed())
def test_a_box_comes_back_within_one_stored_pixel(drawn: tuple[int, int, int, tuple[int, int, int, int]]) -> None:
    height, width, size, (top, bottom, left, right) = drawn
    frame = Letterbox.fit(height, width, size)
    image = np.zeros((height, width), np.uint8)
    image[top:bottom, left:right] = 255
    back = frame.to_stored(frame.apply(image).astype(np.float32) / 255)
    found = _box_of(back >= 0.5)
    cell = max(height, width) / size
    for got, drawn_at, border in zip(found, (top, bottom, left, right), (0, height, 0, width), strict=True):
        # A strip between box and border that is narrower than a cell may be lost in it; nothing else moves an edge.
        swallowed = 0 < abs(border - drawn_at) < cell and got == border
        assert abs(got - drawn_at) <= 1 or swallowed


def test_applying_keeps_the_image_and_pads_with_zero() -> None:
    image = np.random.default_rng(0).integers(1, 255, (16, 32), dtype=np.uint8)
    frame = Letterbox.fit(16, 32, 32)
    square = frame.apply(image)
    assert square.shape == (32, 32)
    np.testing.assert_array_equal(square[frame.inside()], image)
    outside = np.ones((32, 32), bool)
    outside[frame.inside()] = False
    assert not square[outside].any()
