"""Images as the network sees them: standardised, padding at the mean, made batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor

from wsl_bench.data.views import WeakView

_MOST_OF_GPU = 0.5  # of a GPU's free memory may go to images; networks need the rest


class Inputs:
    """The images of one split, kept as uint8: on the GPU where they fit, else where the view has them.

    Args:
        view: the weak view; its images may lie in a file.
        mean, std: of the training images' pixels.
        device: where batches are made.
    """

    def __init__(self, view: WeakView, mean: float, std: float, device: str) -> None:
        self._rows, self._mean, self._std, self._device = view.images, mean, std, device
        whole = slice(None)
        self._on_gpu = torch.from_numpy(view.images[whole]).to(device) if _fits_gpu(view, device) else None
        full = all(f.inner_height == f.inner_width == f.size for f in view.frames)
        self._inside = None if full else self._frames(view).to(device)
        self.labels = torch.from_numpy(view.labels).to(device)

    def __len__(self) -> int:
        return len(self._rows)

    def images(self, index: Tensor | slice) -> Tensor:
        """(n, 1, S, S) float32; the padding around an image is 0, the mean."""
        values = (self._pixels(index).float() - self._mean) / self._std
        if self._inside is not None:
            values = values * self._inside[index]
        return values.unsqueeze(1)

    def _pixels(self, index: Tensor | slice) -> Tensor:
        if self._on_gpu is not None:
            return self._on_gpu[index]
        places = index if isinstance(index, slice) else index.cpu().numpy()
        return torch.from_numpy(self._rows[places]).to(self._device)

    @staticmethod
    def _frames(view: WeakView) -> Tensor:
        inside = torch.zeros(view.images.shape, dtype=torch.bool)
        for row, frame in zip(inside, view.frames, strict=True):
            row[frame.inside()] = True
        return inside


def _fits_gpu(view: WeakView, device: str) -> bool:
    return device == "cuda" and view.images.nbytes <= _MOST_OF_GPU * torch.cuda.mem_get_info()[0]
