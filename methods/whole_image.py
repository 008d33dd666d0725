"""The whole image lit: what chance gives (IoP is then the mean ground-truth area)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from wsl_bench import PriorMethod, Task, register_method
from wsl_bench.method import PriorData
from wsl_bench.nets.prior import FixedMap


@register_method("whole_image")
class WholeImage(PriorMethod):
    """One everywhere."""

    groups = ("sanity",)

    def fit(self, task: Task, data: PriorData) -> nn.Module:
        """Ones."""
        return FixedMap(torch.ones(task.image_size, task.image_size))

    def localize(self, net: nn.Module, images: Tensor) -> Tensor:
        """Ones for every image."""
        return cast(FixedMap, net).repeat(images)
