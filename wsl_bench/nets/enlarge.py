"""Small images enlarged for networks whose maps have few cells, late in a training (progressive resizing)."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from wsl_bench.method import Batch, Network
from wsl_bench.params import param


class EnlargingSequential(nn.Sequential):
    """Layers that see small images enlarged; they keep the places and names that they have without it.

    Images (N, C, h, w) whose shorter side is below `side` are brought to that side (bilinear); others pass as they
    are, and so do all while it is not `active`.
    """

    def __init__(self, side: int, layers: nn.Sequential) -> None:
        super().__init__(OrderedDict(layers.named_children()))
        self.side = side
        self.active = True

    def forward(self, images: Tensor) -> Tensor:
        """What the layers make of the images, enlarged or not."""
        features = self._enlarged(images) if self.active else images
        for layer in self:
            features = layer(features)
        return features

    def _enlarged(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        factor = self.side / min(height, width)
        if factor <= 1:
            return images
        return functional.interpolate(images, size=(round(height * factor), round(width * factor)), mode="bilinear")


class EnlargingNetwork(Network):
    """A network that reads small images enlarged: the first layers that `build` gives are an `EnlargingSequential`.

    Class attributes:
        cell: side of a cell of its last map, in pixels of what it reads.
    """

    cell: ClassVar[int] = 32

    input_size: int = param(96, "smaller images are enlarged to this side, for maps of more cells", low=32)
    enlarge_from: float = param(
        0.67, "share of the training from which small images are enlarged; until then they pass as they are", low=0,
        high=1,
    )  # fmt: skip

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        """Cross-entropy; early in the training, of small images at their own size, at half the cost.

        What is learned at one size carries over to a larger one within an epoch or two.
        """
        enlarging = [module for module in net.modules() if isinstance(module, EnlargingSequential)]
        for layers in enlarging:
            layers.active = progress >= self.enlarge_from
        try:
            return super().loss(net, batch, progress)
        finally:
            for layers in enlarging:
                layers.active = True
