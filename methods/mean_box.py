"""The mean ground truth of the validation images: the best image-independent guess.

It spends the validation boxes that every threshold already spends; on pneumonia it beats the
figures published for some trained methods, which is why it stands in every table.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from wsl_bench import PriorMethod, Task, register_method
from wsl_bench.method import PriorData
from wsl_bench.nets.prior import FixedMap


@register_method("mean_box")
class MeanBox(PriorMethod):
    """Mean of the validation ground truth, the same on every image."""

    groups = ("sanity",)
    uses_validation_truth = True

    def fit(self, task: Task, data: PriorData) -> nn.Module:
        """The mean map over its maximum."""
        assert data.validation_truth is not None
        # Without located validation images nothing is known: a blank map.
        return FixedMap(data.validation_truth / data.validation_truth.max().clamp(min=1e-12))

    def localize(self, net: nn.Module, images: Tensor) -> Tensor:
        """The same map for every image."""
        return cast(FixedMap, net).repeat(images)
