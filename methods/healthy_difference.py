"""Image minus the mean healthy training image: what is brighter than usual at its place."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from wsl_bench import PriorMethod, Task, register_method
from wsl_bench.method import PriorData
from wsl_bench.nets.prior import FixedMap


@register_method("healthy_difference")
class HealthyDifference(PriorMethod):
    """Positive part of the image minus the mean healthy training image."""

    groups = ("sanity",)
    bounded = False

    def fit(self, task: Task, data: PriorData) -> nn.Module:
        """The mean of the healthy training images."""
        return FixedMap(data.mean_images[0].mean(0))

    def localize(self, net: nn.Module, images: Tensor) -> Tensor:
        """ReLU(image - mean), (N, S, S)."""
        return (images.mean(1) - cast(FixedMap, net).map).clamp(min=0)
