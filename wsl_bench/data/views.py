"""The two views of a split: the weak view, which has no ground truth in it, and the truth view."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.rows import ImageRows
from wsl_bench.data.samples import Truth


@dataclass(frozen=True)
class WeakView:
    """Images and image-level labels of one split: all that a training may see.

    Attributes:
        image_ids, groups: (N,) text.
        labels: (N,) int64.
        images: N of S x S pixels, letterboxed.
        frames: how each image lies in its square.
        sha256: over ids, groups, labels and stored pixels; independent of S.
    """

    image_ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    images: ImageRows
    frames: tuple[Letterbox, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.image_ids)

    def pixel_moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the pixels inside the images (padding left out)."""
        total = squares = count = 0
        for image, frame in zip(self.images, self.frames, strict=True):
            pixels = image[frame.inside()]
            total += int(pixels.sum(dtype=np.int64))
            squares += int(np.square(pixels, dtype=np.uint16).sum(dtype=np.int64))
            count += pixels.size
        mean = total / count
        return mean, float(np.sqrt(max(squares / count - mean**2, 1.0)))


@dataclass(frozen=True)
class TruthView:
    """Ground truth of one split, handed only to the code that fits on val or evaluates test.

    Attributes:
        located: (N,) bool: the image has ground truth.
        truths: one per image; empty for images that are not located.
        sha256: over ids and ground truth.
    """

    image_ids: tuple[str, ...]
    located: npt.NDArray[np.bool_]
    truths: tuple[Truth, ...]
    sha256: str

    def n_boxes(self) -> int:
        """Ground-truth boxes of the split (its declared budget, for validation)."""
        return sum(len(truth.boxes) for truth in self.truths)


def truth_sha256(image_ids: Sequence[str], located: Sequence[bool], truths: Sequence[Truth]) -> str:
    """sha256 of the ground truth of a split."""
    digest = hashlib.sha256()
    for image_id, is_located, truth in zip(image_ids, located, truths, strict=True):
        digest.update(f"{image_id}\0{int(is_located)}\0".encode())
        digest.update(np.ascontiguousarray(truth.boxes, np.float64).tobytes())
        if truth.mask is not None:
            digest.update(f"{truth.mask.shape}".encode())
            digest.update(np.packbits(truth.mask).tobytes())
    return digest.hexdigest()
