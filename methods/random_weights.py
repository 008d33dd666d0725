"""GradCAM on the baseline with random weights (Adebayo et al. 2018, arXiv:1810.03292)."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from wsl_bench import PostHocMethod, register_method
from wsl_bench.nets.cam import gradcam


@register_method("random_weights")
class RandomWeights(PostHocMethod):
    """GradCAM on the untrained baseline: what a map owes to the architecture alone."""

    paper = "Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018"
    groups = ("sanity",)
    sanity = True
    imports = ("captum.attr",)
    trained_as = "untrained_baseline"

    def explain(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probability and maps at the last convolution before pooling."""
        return gradcam(net, cast(Any, net).classifier.features[-1], images)
