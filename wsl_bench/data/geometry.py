"""The way from a stored image to the network's square input and back: letterbox and its inverse."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Letterbox:
    """An image scaled to fit a square, centred, the rest padded.

    Attributes:
        height, width: of the stored image.
        size: side of the square.
        top, left, inner_height, inner_width: where the image lies in the square, whole pixels.
    """

    height: int
    width: int
    size: int
    top: int
    left: int
    inner_height: int
    inner_width: int

    @staticmethod
    def fit(height: int, width: int, size: int) -> Letterbox:
        """The letterbox of an image of this shape; the longer side fills the square."""
        scale = size / max(height, width)
        inner_h = max(1, min(size, round(height * scale)))
        inner_w = max(1, min(size, round(width * scale)))
        return Letterbox(height, width, size, (size - inner_h) // 2, (size - inner_w) // 2, inner_h, inner_w)

    def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """(height, width) uint8 -> (size, size) uint8; outside the image it is 0 (see `inside`)."""
        out = np.zeros((self.size, self.size), np.uint8)
        rows, cols = self.inside()
        if image.shape == (self.inner_height, self.inner_width):
            out[rows, cols] = image
        else:
            # Pillow's bilinear filter widens when it shrinks, so fine structure does not alias.
            shape = (self.inner_width, self.inner_height)
            resized = Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR)
            out[rows, cols] = np.asarray(resized)
        return out

    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the square that hold the image."""
        return (
            slice(self.top, self.top + self.inner_height),
            slice(self.left, self.left + self.inner_width),
        )

    def to_stored(self, score_map: FloatArray) -> FloatArray:
        """Bring a score map of the square (h, w) to the stored image (height, width), bilinear.

        Sampling is at pixel centres (`align_corners=False`), borders clamped. For an unpadded
        square this is torch's `interpolate(mode="bilinear", align_corners=False)`.
        """
        h, w = score_map.shape
        rows = _weights(self.height, self.inner_height, self.top, self.size, h)
        cols = _weights(self.width, self.inner_width, self.left, self.size, w)
        return _resampled(score_map, rows, cols)

    def place(self, score_map: FloatArray) -> FloatArray:
        """A score map (h, w) of the whole stored image in its square (size, size); outside the image it is 0."""
        out = np.zeros((self.size, self.size), np.float32)
        out[self.inside()] = stretched(score_map, self.inner_height, self.inner_width)
        return out


def stretched(score_map: FloatArray, height: int, width: int) -> FloatArray:
    """A score map (h, w) of a whole image at the image's size (height, width): bilinear, `align_corners=False`."""
    h, w = score_map.shape
    return _resampled(score_map, _weights(height, height, 0, height, h), _weights(width, width, 0, width, w))


def _resampled(score_map: FloatArray, rows: FloatArray | None, cols: FloatArray | None) -> FloatArray:
    """rows @ map @ cols^T; None stands for the identity, and a map that neither changes comes back as it is."""
    if rows is None and cols is None:
        return score_map
    out = score_map if rows is None else rows @ score_map
    return np.asarray(out if cols is None else out @ cols.T, np.float32)


@functools.lru_cache(maxsize=256)
def _weights(stored: int, inner: int, offset: int, size: int, cells: int) -> FloatArray | None:
    """(stored, cells) interpolation matrix along one axis; None where it is the identity."""
    if stored == inner == size == cells and offset == 0:
        return None
    in_square = offset + (np.arange(stored) + 0.5) * inner / stored
    position = np.clip(in_square * cells / size - 0.5, 0, cells - 1)
    low = np.minimum(position.astype(np.int64), max(cells - 2, 0))
    share = (position - low).astype(np.float32)
    matrix = np.zeros((stored, cells), np.float32)
    matrix[np.arange(stored), low] = 1 - share
    if cells > 1:
        matrix[np.arange(stored), low + 1] += share
    return matrix
