"""Images as the network sees them: standardised, padding at the mean, made batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wsl_bench.data.views import WeakView


class Inputs:
    """The images of one split on one device, kept as uint8.

    Args:
        view: the weak view.
        mean, std: of the training images' pixels.
        device: where batches are made.
    """

    def __init__(self, view: WeakView, mean: float, std: float, device: str) -> None:
        self._pixels = torch.from_numpy(np.ascontiguousarray(view.images)).to(device)
        self._mean, self._std = mean, std
        full = all(f.inner_height == f.inner_width == f.size for f in view.frames)
        self._inside = None if full else self._frames(view).to(device)
        self.labels = torch.from_numpy(view.labels).to(device)

    def __len__(self) -> int:
        return len(self._pixels)

    def images(self, index: Tensor | slice) -> Tensor:
        """(n, 1, S, S) float32; the padding around an image is 0, the mean."""
        values = (self._pixels[index].float() - self._mean) / self._std
        if self._inside is not None:
            values = values * self._inside[index]
        return values.unsqueeze(1)

    @staticmethod
    def _frames(view: WeakView) -> Tensor:
        inside = torch.zeros(view.images.shape, dtype=torch.bool)
        for row, frame in zip(inside, view.frames, strict=True):
            row[frame.inside()] = True
        return inside
