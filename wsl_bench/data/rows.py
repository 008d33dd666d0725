"""Images that lie as rows of a larger array, mostly of a file: only what is asked for is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageRows:
    """N square images.

    Attributes:
        array: (M, S, S) uint8, in memory or a memory map.
        rows: (N,) int64, where each image lies in it.
    """

    array: Pixels
    rows: npt.NDArray[np.int64]

    @staticmethod
    def of(images: Pixels) -> ImageRows:
        """All rows of an array, in their order."""
        return ImageRows(images, np.arange(len(images)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, S, S)."""
        return len(self.rows), self.array.shape[1], self.array.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes that all images take in memory."""
        n, height, width = self.shape
        return n * height * width

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice | npt.NDArray[np.int64]) -> Pixels:
        """One image (S, S), or a batch (n, S, S), copied into memory."""
        found = self.array[self.rows[index]]
        return np.array(found) if isinstance(index, int) else np.asarray(found)  # several are a copy already

    def __iter__(self) -> Iterator[Pixels]:
        return (np.asarray(self.array[row]) for row in self.rows)
