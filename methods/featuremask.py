"""FeatureMask: the mask of InfoMask without noise and without the KL term.

Formula: z = mu;  M = min(1, max(0, sigmoid(mu) - tau));  loss = cross-entropy.
Shapes: mu, M (N, 1, H, W). Score map: M / (1 - tau), in [0, 1].
"""

from __future__ import annotations

from torch import Tensor

from wsl_bench import register_method
from wsl_bench.nets.masked import DeterministicMask


@register_method("featuremask")
class FeatureMask(DeterministicMask):
    """Mask of the feature map, no regularisation (InfoMask paper, section 4)."""

    paper = "Asgari Taghanaki et al., InfoMask, MICCAI 2019, section 4 (ii)"
    groups = ("paper",)

    def penalty(self, mask: Tensor, progress: float) -> Tensor:
        """None."""
        return mask.new_zeros(())
