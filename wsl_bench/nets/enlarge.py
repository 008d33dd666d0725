"""Small images enlarged for networks whose maps have few cells, late in a training (progressive resizing)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from wsl_bench.method import Batch, Network
from wsl_bench.params import param


class Enlarge(nn.Module):
    """(N, C, h, w) with a shorter side below `side` -> the same images, that side `side` (bilinear)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.active = True

    def forward(self, images: Tensor) -> Tensor:
        """Images that are large enough pass as they are; so do all while it is not active."""
        height, width = images.shape[-2:]
        factor = self.side / min(height, width)
        if factor <= 1 or not self.active:
            return images
        return functional.interpolate(images, size=(round(height * factor), round(width * factor)), mode="bilinear")


class EnlargingNetwork(Network):
    """A network that reads small images enlarged; `build` puts one `Enlarge(self.input_size)` in front."""

    input_size: int = param(96, "smaller images are enlarged to this side, for maps of more cells", low=32)
    enlarge_from: float = param(
        0.67, "share of the training from which small images are enlarged; until then they pass as they are", low=0,
        high=1,
    )  # fmt: skip

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        """Cross-entropy; early in the training, of small images at their own size, at half the cost.

        What is learned at one size carries over to a larger one within an epoch or two.
        """
        enlarge = next(module for module in net.modules() if isinstance(module, Enlarge))
        enlarge.active = progress >= self.enlarge_from
        try:
            return super().loss(net, batch, progress)
        finally:
            enlarge.active = True
