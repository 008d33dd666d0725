"""The weak view: pixel moments over what is image and not padding."""

from __future__ import annotations

import numpy as np
import pytest

from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.rows import ImageRows
from wsl_bench.data.views import WeakView


def _view(images: list[np.ndarray[tuple[int, int], np.dtype[np.uint8]]], size: int = 16) -> WeakView:
    frames = tuple(Letterbox.fit(*image.shape, size) for image in images)
    squares = np.stack([frame.apply(image) for frame, image in zip(frames, images, strict=True)])
    names = tuple(f"im{i}" for i in range(len(images)))
    return WeakView(names, names, np.zeros(len(images), np.int64), ImageRows.of(squares), frames, "")


def test_the_moments_leave_padding_out() -> None:
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, shape, dtype=np.uint8) for shape in ((16, 16), (8, 16), (16, 4))]
    mean, std = _view(images).pixel_moments()
    pixels = np.concatenate([image.ravel() for image in images])
    assert mean == pytest.approx(pixels.mean())
    assert std == pytest.approx(pixels.std())


def test_a_flat_dataset_has_a_deviation_to_divide_by() -> None:
    assert _view([np.full((16, 16), 7, np.uint8)]).pixel_moments() == (7.0, 1.0)
