"""RegL1: FeatureMask with an L1 penalty on the mask in place of the KL term.

Formula: loss = cross-entropy + lambda * mean(M), M (N, 1, H, W) as in FeatureMask.
Score map: M / (1 - tau), in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from wsl_bench import param, register_method
from wsl_bench.nets.masked import MASK_SILENT, DeterministicMask, warmed_up


@register_method("regl1")
class RegL1(DeterministicMask):
    """Mask under an L1 penalty (InfoMask paper, section 4)."""

    paper = "Asgari Taghanaki et al., InfoMask, MICCAI 2019, section 4 (iii)"
    groups = ("paper",)
    silent: ClassVar[Mapping[str, str]] = MASK_SILENT | {
        "lambda": "no value is given; 0.03 on the mean of the mask, warmed up linearly over the first 30 % of "
        "training: from the start it shut the mask of one training in five for good",
    }

    weight: float = param(0.03, "lambda, weight of the mean of the mask", low=0)
    warmup: float = param(0.3, "share of training over which lambda rises from 0", low=0, high=1)

    def penalty(self, mask: Tensor, progress: float) -> Tensor:
        """lambda * mean(M)."""
        return warmed_up(self.weight, progress, self.warmup) * mask.mean()
