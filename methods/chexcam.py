"""CheXCAM: GradCAM at the last feature layer of DenseNet121 (CheXNet).

timm's `features.norm5` is normalisation and ReLU in one module, so its output is what pooling sees
and no in-place operation follows. Shapes: map (N, h, w), h = H / 32; unbounded, scaled by the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from wsl_bench import PostHocMethod, param, register_method
from wsl_bench.nets.cam import gradcam
from wsl_bench.nets.paper_cnn import SYMMETRIC_START, SymmetricStart
from wsl_bench.params import Value


@register_method("chexcam")
class CheXCAM(PostHocMethod):
    """GradCAM on DenseNet121 (Rajpurkar et al. 2017; InfoMask paper, section 4)."""

    paper = "Rajpurkar et al., CheXNet, 2017 (arXiv:1711.05225); InfoMask paper, section 4 (iv)"
    groups = ("paper",)
    trained_as = "densenet121"
    silent: ClassVar[Mapping[str, str]] = {
        "layer": '"the last layer of CheXNet"; the last feature layer, after its normalisation and ReLU',
        "epochs": "not given; 0.86 of the common number, as an image costs five times as much",
        "start": "not given; symmetric kernels and a blank output layer (docs/training.md)",
        "resolution": "maps of H / 32 cells: 2 x 2 at 64 px, which no threshold turns into a lesion",
        "pretraining": "CheXNet starts from ImageNet; here from scratch unless `weights` is given",
    }

    symmetric_start: SymmetricStart = param("all", SYMMETRIC_START)
    weights: Path | None = param(None, "a local .safetensors or .pth file to start from (weights_only)", is_file=True)

    def network_params(self) -> dict[str, Value]:
        """The start of the network."""
        return {
            "symmetric_start": self.symmetric_start,
            "weights": None if self.weights is None else str(self.weights),
        }

    def explain(self, net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probability and maps at features.norm5."""
        return gradcam(net, cast(Any, net).features.norm5, images)
