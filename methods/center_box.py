"""The centre box: the same centred square on every image (Choe et al. 2020, arXiv:2001.07437)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from wsl_bench import PriorMethod, Task, param, register_method
from wsl_bench.method import PriorData
from wsl_bench.nets.prior import FixedMap


@register_method("center_box")
class CenterBox(PriorMethod):
    """A centred square, whatever the image shows."""

    paper = "Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020"
    groups = ("sanity",)

    side: float = param(0.5, "side of the box as a share of the image's side", above=0, high=1)

    def fit(self, task: Task, data: PriorData) -> nn.Module:
        """One inside the box, zero outside."""
        size = task.image_size
        margin = round(size * (1 - self.side) / 2)
        box = torch.zeros(size, size)
        box[margin : size - margin, margin : size - margin] = 1
        return FixedMap(box)

    def localize(self, net: nn.Module, images: Tensor) -> Tensor:
        """The same box for every image."""
        return cast(FixedMap, net).repeat(images)
